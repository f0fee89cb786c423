// The keyboard shortcuts that work everywhere except in a field.

const FIELDS = "input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]";

/**
 * @param {Record<string, (event: KeyboardEvent, where: { isField: boolean }) => void>} does actions by name of the key
 */
export function listen(does) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    const isField = target.matches(FIELDS);
    if (isField && event.key !== "Escape") return;
    // Enter activates a focused button or link.
    if (event.key === "Enter" && target.closest("button, a, summary")) return;
    const action = does[event.key];
    if (!action) return;
    event.preventDefault();
    action(event, { isField });
  });
}
