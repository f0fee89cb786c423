// The keys that work anywhere but in a field. `does`: what each does, by its name.

const FIELDS = "input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]";

export function listen(does) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    const isField = event.target.matches?.(FIELDS);
    if (isField && event.key !== "Escape") return;
    // Enter on a button or a link is theirs.
    if (event.key === "Enter" && event.target.closest?.("button, a, summary")) return;
    const action = does[event.key];
    if (!action) return;
    event.preventDefault();
    action(event, { isField });
  });
}
