// Before anything is drawn: the colours that the visitor has chosen.
"use strict";
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (e) { /* no storage: as the system */ }
