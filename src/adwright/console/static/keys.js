// Keys of the review pages, focus after a part of a page was exchanged, and edits that are not saved.
// Everything works without this file.
"use strict";
(() => {
  const STORE = "adwright-keys";
  const byKey = (key) => document.querySelector(`#main [data-key="${key}"]`);
  const stored = () => {
    try { return localStorage.getItem(STORE) !== "off"; } catch { return true; }
  };

  const act = {
    a: () => byKey("a")?.click(),
    e: () => byKey("e")?.focus(),
    r: () => {
      const box = document.getElementById("rejecting");
      if (box) {
        box.open = true;
        box.querySelector("input[type=checkbox]")?.focus();
      }
    },
    j: () => byKey("j")?.click(),
    k: () => byKey("k")?.click(),
    "?": () => document.getElementById("help")?.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    const at = event.target;
    const help = document.getElementById("help");
    const typing = at instanceof HTMLElement &&
      (at.isContentEditable || at.closest("textarea, select, input:not([type=radio], [type=checkbox])"));
    if (event.key === "Escape" && typing && at.closest("#main")) at.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    // A page that is about to go is not acted on: its draft has been decided about.
    const leaving = document.querySelector("form.htmx-request, a.htmx-request");
    if (typing || leaving || help?.open || !stored() || !Object.hasOwn(act, event.key)) return;
    event.preventDefault();
    act[event.key]();
  });

  // A draft with an edit that is not saved is not approved as it was.
  const watch = () => {
    const text = byKey("e");
    const approve = byKey("a");
    if (!text || !approve) return;
    const changed = text.value !== text.defaultValue;
    approve.disabled = changed;
    document.getElementById("unsaved").hidden = !changed;
  };
  document.addEventListener("input", watch);

  const ready = () => {
    const button = document.getElementById("show-help");
    if (button) button.hidden = false;
    watch();
  };
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("#show-help")) act["?"]();
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const place = event.detail.elt;
    // Whoever was quicker, and is in the new part already, stays there.
    const lost = !document.activeElement || document.activeElement === document.body;
    if (lost && place instanceof Element && place.id === "main") place.focus({ preventScroll: true });
    ready();
  });

  const box = document.getElementById("keys-on");
  if (box) {
    box.checked = stored();
    box.addEventListener("change", () => {
      try { localStorage.setItem(STORE, box.checked ? "on" : "off"); } catch { /* a private window */ }
    });
  }
  ready();
})();
