// Applies the stored theme before the first paint, so that a dark page does not flash. theme.js does the rest.
try {
  const theme = localStorage.getItem("otel-llm-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // The browser blocks storage.
}
