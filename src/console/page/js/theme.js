// Runs before the first paint, so that a chosen theme does not flash. Everything else of it is in shell.js.
try {
  const chosen = JSON.parse(localStorage.getItem("keld.theme"));
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the system's theme holds.
}
