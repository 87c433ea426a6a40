// Sorts and filters the tables of the cohort. Without it the page is whole, in the sheet's order.
"use strict";

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return text !== "" && Number.isFinite(number) ? number : text;
}

function compare(one, other) {
  const missing = [one, other].map((value) => value === "" || value === "–");
  if (missing[0] || missing[1]) return missing[0] - missing[1]; // missing values come last
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

function sortBy(table, head, column) {
  const falls = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => [valueOf(row, column), row]);
  const last = (value) => value === "" || value === "–";
  rows.sort(([one], [other]) =>
    falls && !last(one) && !last(other) ? compare(other, one) : compare(one, other));
  body.append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, head, column));
  });
}

function makeFilter(form) {
  const table = document.getElementById(form.dataset.table);
  const [words, doubtful] = [form.elements.words, form.elements.doubtful];
  const rows = Array.from(table.tBodies[0].rows, (row) => [row.textContent.toLowerCase(), row]);
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [text, row] of rows) {
      const fits = wanted.every((word) => text.includes(word));
      row.hidden = !fits || (doubtful.checked && !("doubtful" in row.dataset));
      shown += !row.hidden;
    }
    form.elements.shown.value = `${shown} of ${rows.length} slides`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll("form.filter").forEach(makeFilter);
