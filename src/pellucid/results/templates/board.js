(() => {
  const table = document.getElementById("board"), body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", (event) => {
    const button = event.currentTarget;
    const best = button.dataset.sort === "rank" || button.dataset.better === "lower" ? "ascending" : "descending";
    const other = best === "ascending" ? "descending" : "ascending";
    const way = head.getAttribute("aria-sort") === best ? other : best;
    heads.forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", way);
    const value = (row) => { const held = row.cells[column].dataset.value; return held === "" ? NaN : Number(held); };
    [...body.rows].map((row, place) => [value(row), place, row]).sort(([a, i], [b, j]) => {
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b) || i - j;
      return (way === "ascending" ? a - b : b - a) || i - j;
    }).forEach(([, , row]) => body.append(row));
  }));
})();
