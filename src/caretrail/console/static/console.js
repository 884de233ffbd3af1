// What a browser adds to pages that work without it: a switch of colours, keys, completion of the
// search bar, a stretch of the picture to zoom into, and a table that follows the log.
"use strict";

(() => {
  const root = document.documentElement;
  const KEY = "caretrail-theme";
  const kept = { get: () => { try { return localStorage.getItem(KEY); } catch { return null; } },
                 set: (value) => { try { localStorage.setItem(KEY, value); } catch { /* not kept */ } } };
  if (kept.get()) root.dataset.theme = kept.get();

  const theme = document.getElementById("theme");
  if (theme) {
    const isDark = () => root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const say = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
    theme.hidden = false;
    say();
    theme.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      kept.set(root.dataset.theme);
      say();
    });
  }

  // Keys: nothing happens while somebody types.
  document.querySelectorAll(".keys").forEach((one) => { one.hidden = false; });
  const rows = () => [...document.querySelectorAll("table.events tbody tr")];
  let at = -1;
  let before = "";
  const go = (step) => {
    const all = rows();
    if (!all.length) return;
    at = Math.min(Math.max(at + step, 0), all.length - 1);
    all.forEach((one, n) => one.classList.toggle("at", n === at));
    all[at].querySelector("a.open")?.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const pages = { o: "overview", s: "search", i: "integrity", c: "coverage" };
    if (before === "g" && pages[event.key]) location.href = `/console/${pages[event.key]}`;
    else if (event.key === "/") {
      const bar = document.getElementById("q");
      if (bar) { event.preventDefault(); bar.focus(); bar.select(); }
      else location.href = "/console/search";
    } else if (event.key === "j") go(1);
    else if (event.key === "k") go(-1);
    before = event.key;
  });

  // The bar completes the word at its end.
  const bar = document.getElementById("q");
  const list = document.getElementById("fields");
  if (bar && list) {
    const fields = [...list.options].map((one) => [one.value, one.textContent]);
    bar.addEventListener("input", () => {
      const cut = bar.value.lastIndexOf(" ") + 1;
      const head = bar.value.slice(0, cut);
      const word = bar.value.slice(cut).replace(/^-/, "");
      const minus = bar.value.slice(cut).startsWith("-") ? "-" : "";
      const fit = word ? fields.filter(([name]) => name.startsWith(word)) : [];
      list.replaceChildren(...fit.slice(0, 12).map(([name, about]) => {
        const option = document.createElement("option");
        option.value = head + minus + name;
        option.textContent = about;
        return option;
      }));
    });
  }

  // A stretch of the picture is drawn with the pointer, and becomes the range.
  document.querySelectorAll("figure.chart > svg").forEach((svg) => {
    const bars = [...svg.querySelectorAll("a[data-start]")];
    if (!bars.length) return;
    let from = null;
    let shade = null;
    const x = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      return point.x;
    };
    svg.addEventListener("pointerdown", (event) => { if (event.button === 0) from = x(event); });
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    addEventListener("pointermove", (event) => {
      if (from === null || Math.abs(x(event) - from) < 6) return;
      if (!shade) {
        shade = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        shade.setAttribute("class", "brush");
        shade.setAttribute("y", "0");
        shade.setAttribute("height", "130");
        svg.append(shade);
      }
      shade.setAttribute("x", String(Math.min(from, x(event))));
      shade.setAttribute("width", String(Math.abs(x(event) - from)));
    });
    addEventListener("pointerup", (event) => {
      if (from === null) return;
      const ends = [from, x(event)].sort((a, b) => a - b);
      from = null;
      if (!shade) return;
      shade.remove();
      shade = null;
      const within = bars.filter((one) => {
        const rect = one.querySelector("rect");
        const left = Number(rect.getAttribute("x"));
        return left + Number(rect.getAttribute("width")) > ends[0] && left < ends[1];
      });
      if (!within.length) return;
      const to = new URL(within[0].href.baseVal, location.href);
      to.searchParams.set("to", within[within.length - 1].dataset.end);
      svg.addEventListener("click", (click) => click.preventDefault(), { once: true, capture: true });
      location.href = to.href;
    });
  });

  // Live tail: the table is asked for again, as long as somebody wants that and looks at it.
  const live = document.getElementById("live");
  if (live) {
    live.hidden = false;
    const box = live.querySelector("input");
    const again = async () => {
      if (!box.checked || document.hidden) return;
      const answer = await fetch(location.href, { headers: { accept: "text/html", "x-live": "1" } });
      if (answer.redirected || !answer.ok) { box.checked = false; return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [old, fresh] = [document, page].map((one) => one.querySelector("table.events tbody"));
      if (old && fresh) old.replaceWith(document.adoptNode(fresh));
    };
    setInterval(again, 3000);
  }
})();
