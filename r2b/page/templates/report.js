"use strict";
(() => {
  // theme: auto follows the system; the choice is kept where the browser lets a file keep anything
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  const stored = () => { try { return localStorage.getItem("r2b-theme"); } catch { return null; } };
  const store = (theme) => { try { localStorage.setItem("r2b-theme", theme); } catch { /* a private window */ } };
  const show = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    button.querySelector("span").textContent = theme;
  };
  let theme = themes.includes(stored()) ? stored() : "auto";
  show(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    show(theme);
    store(theme);
  });

  // tables: a button in every heading; figures that are absent come last either way
  const key = (row, column, numeric) => {
    const cell = row.cells[column];
    if (!numeric) return cell.textContent.trim();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (a, b, numeric) => numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
  const sort = (table, heading) => {
    const column = heading.cellIndex;
    const numeric = heading.dataset.sort === "number";
    const down = heading.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row, column, numeric), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return down ? compare(b, a, numeric) : compare(a, b, numeric);
    });
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  };
  for (const table of document.querySelectorAll("table")) {
    for (const heading of table.tHead.rows[0].cells) {
      const sorter = document.createElement("button");
      sorter.type = "button";
      sorter.append(...heading.childNodes);
      heading.append(sorter);
      heading.setAttribute("aria-sort", "none");
      sorter.addEventListener("click", () => sort(table, heading));
    }
  }

  // tooltips: the titles of the pictures, at once and readable
  const tip = document.getElementById("tip");
  for (const title of document.querySelectorAll("main svg title")) {
    const owner = title.parentElement;
    owner.dataset.tip = title.textContent;
    if (owner.classList.contains("node")) owner.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  const place = (x, y) => {
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 10) : y + 18}px`;
  };
  const light = (stage) => {
    for (const part of document.querySelectorAll(".on")) part.classList.remove("on");
    if (stage === undefined) return;
    for (const part of document.querySelectorAll(`[data-stage="${stage}"]`)) part.classList.add("on");
  };
  const enter = (target, x, y) => {
    const owner = target.closest("[data-tip]");
    light(target.closest("[data-stage]")?.dataset.stage);
    tip.hidden = !owner;
    if (!owner) return;
    tip.textContent = owner.dataset.tip;
    place(x, y);
  };
  document.addEventListener("pointermove", (event) => enter(event.target, event.clientX, event.clientY));
  document.addEventListener("focusin", (event) => {
    const box = event.target.getBoundingClientRect();
    enter(event.target, box.left, box.bottom - 10);
  });
  document.addEventListener("focusout", () => { tip.hidden = true; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
