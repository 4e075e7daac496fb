// Searches a table: rows that hold all of the words that were typed stay.
document.addEventListener("DOMContentLoaded", () => {
  for (const field of document.querySelectorAll("input[data-searches]")) {
    const rows = [...document.getElementById(field.dataset.searches).tBodies[0].rows];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const count = field.closest("p").querySelector("output");
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, place) => {
        row.hidden = !words.every((word) => texts[place].includes(word));
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = `${shown.toLocaleString("en")} metrics`;
    });
  }
});
