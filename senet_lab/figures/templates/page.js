// Tables: a click on a column's heading sorts by it, a second click reverses the order.
const sortBy = (heading, order) => {
  for (const other of heading.parentNode.children) other.removeAttribute("aria-sort")
  heading.ariaSort = order
  const body = heading.closest("table").tBodies[0]
  const key = (row) => {
    const cell = row.cells[heading.cellIndex]
    return cell.matches(".number") ? Number(cell.dataset.key) : cell.dataset.key
  }
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b || 0
    : String(a).localeCompare(String(b), undefined, {numeric: true})
  const rows = [...body.rows].sort((a, b) => compare(key(a), key(b)))
  body.append(...(order === "ascending" ? rows : rows.reverse()))
}
document.addEventListener("click", (event) => {
  const heading = event.target.closest("th:has(button)")
  if (heading) sortBy(heading, heading.ariaSort === "ascending" ? "descending" : "ascending")
})
