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

// Rows of a table that fit its filter, the first of them shown, and a button for the others.
class Rows {
  constructor(table) {
    this.body = table.tBodies[0];
    this.limit = Number(table.dataset.rows);
    this.fits = () => true;
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "more";
    this.button.addEventListener("click", () => this.showAll());
    table.closest(".wide").after(this.button);
    this.show();
  }

  show() {
    let fitting = 0;
    for (const row of this.body.rows) {
      const fits = this.fits(row);
      fitting += fits;
      const hidden = !fits || fitting > this.limit;
      if (row.hidden !== hidden) row.hidden = hidden;
    }
    this.button.hidden = fitting <= this.limit;
    this.button.textContent = `Show all ${fitting} rows`;
    return fitting;
  }

  showAll() {
    this.limit = Infinity;
    this.show();
  }
}

function sortBy(rows, head, column) {
  const falls = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const sorted = Array.from(rows.body.rows, (row) => [valueOf(row, column), row]);
  const last = (value) => value === "" || value === "–";
  sorted.sort(([one], [other]) =>
    falls && !last(one) && !last(other) ? compare(other, one) : compare(one, other));
  rows.body.append(...sorted.map(([, row]) => row));
  rows.show();
}

function makeSortable(table) {
  const rows = new Rows(table);
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(rows, head, column));
  });
  return rows;
}

function makeFilter(form, rows) {
  const [words, doubtful] = [form.elements.words, form.elements.doubtful];
  const texts = new Map(Array.from(rows.body.rows, (row) => [row, row.textContent.toLowerCase()]));
  form.addEventListener("input", () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.fits = (row) => wanted.every((word) => texts.get(row).includes(word))
      && (!doubtful.checked || "doubtful" in row.dataset);
    form.elements.shown.value = `${rows.show()} of ${texts.size} slides`;
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.shown.value = `${texts.size} of ${texts.size} slides`;
  form.hidden = false;
}

const tables = new Map();
for (const table of document.querySelectorAll("table.sortable")) tables.set(table, makeSortable(table));
for (const form of document.querySelectorAll("form.filter"))
  makeFilter(form, tables.get(document.getElementById(form.dataset.table)));
addEventListener("beforeprint", () => tables.forEach((rows) => rows.showAll()));
