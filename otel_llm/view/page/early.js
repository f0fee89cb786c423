// Before anything is painted: the theme that was chosen, so that a dark page does not flash. Everything else is theme.js.
try {
  const theme = localStorage.getItem("otel-llm-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that keeps nothing.
}
