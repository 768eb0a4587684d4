"use strict";
// the page reads the same without this: it sorts tables, filters long ones, and enlarges pictures
const words = new Intl.Collator(undefined, { numeric: true });

function sort(head) {
  const row = head.parentElement, body = head.closest("table").tBodies[0];
  const column = [...row.children].indexOf(head);
  const key = (line) => line.children[column].dataset.sort;
  const lines = [...body.rows];
  const known = lines.map(key).filter((value) => value !== undefined);
  const numbers = known.every((value) => value !== "" && !Number.isNaN(Number(value)));
  const now = head.getAttribute("aria-sort");
  // numbers begin with the largest, words with a
  const falling = now === null ? numbers : now === "ascending";
  const compare = (one, other) => (numbers ? Number(one) - Number(other) : words.compare(one, other));
  lines.sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return falling ? compare(b, a) : compare(a, b);
  });
  body.append(...lines);
  for (const each of row.children) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
}

for (const head of document.querySelectorAll("thead th"))
  head.querySelector("button").addEventListener("click", () => sort(head));

for (const input of document.querySelectorAll(".filter input"))
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const line of input.closest(".table").querySelectorAll("tbody tr"))
      line.hidden = !line.textContent.toLowerCase().includes(wanted);
  });

for (const picture of document.querySelectorAll(".picture")) {
  picture.addEventListener("click", () => picture.classList.toggle("large"));
  picture.addEventListener("keydown", (event) => {
    if (event.key === "Enter") picture.classList.toggle("large");
  });
}

// what a link leads to is opened, and all is printed
const unfold = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
};
window.addEventListener("hashchange", unfold);
window.addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});
unfold();
