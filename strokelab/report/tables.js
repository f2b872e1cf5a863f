// The case table sorts by its headings and shows the rows that hold every word of the filter and the chosen values.
(() => {
  const table = document.querySelector("table.sortable"), body = table.tBodies[0], rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells], shown = document.getElementById("shown");
  const value = (row, i) => row.cells[i].dataset.value;
  const compare = (a, b, i) => {
    const x = value(a, i), y = value(b, i);
    if (x !== undefined && y !== undefined) return x.replace("inf", "Infinity") - y.replace("inf", "Infinity") || 0;
    if (x !== undefined || y !== undefined) return 0;
    return a.cells[i].textContent.localeCompare(b.cells[i].textContent, undefined, { numeric: true });
  };
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const numeric = rows.some(row => value(row, i) !== undefined);
    const blank = row => numeric && value(row, i) === undefined;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
    rows.sort((a, b) => blank(a) - blank(b) || down * compare(a, b, i)).forEach(row => body.append(row));
  }));
  const words = document.getElementById("filter"), choices = [];
  const show = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach(row => {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every(word => text.includes(word)) ||
        choices.some(({ column, select }) => select.value && row.cells[column].textContent !== select.value);
    });
    shown.textContent = rows.filter(row => !row.hidden).length + " of " + rows.length + " rows.";
  };
  // A list for every column of names with few different ones: run, model, site, scanner.
  heads.forEach((head, column) => {
    const names = [...new Set(rows.map(row => row.cells[column].textContent))];
    const textual = column > 0 && rows.every(row => value(row, column) === undefined && !row.cells[column].classList.contains("words"));
    if (!textual || names.length < 2 || names.length > 60) return;
    const label = document.createElement("label"), select = document.createElement("select");
    names.sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    select.append(new Option("all", ""), ...names.map(name => new Option(name, name)));
    select.addEventListener("change", show);
    label.append(head.textContent.trim() + " ", select);
    words.closest("p").insertBefore(label, shown.parentElement);
    choices.push({ column, select });
  });
  words.addEventListener("input", show);
  words.closest("p").hidden = false;
  show();
})();
// What is folded away is paper's too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));
