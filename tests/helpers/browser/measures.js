// What the tests measure in the page. Put into every page before its own scripts.

window.measures = (() => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const seen = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  const head = (element) => element.outerHTML.slice(0, 80);

  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  function rgba(colour) {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data];
  }
  function luminance([red, green, blue]) {
    const [r, g, b] = [red, green, blue].map((one) => {
      const share = one / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function ground(element) {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  }

  return {
    frame,

    isPainted: () => performance.getEntriesByName("first-contentful-paint").length > 0,

    /** When what was asked for is there and drawn, and nothing moves any more. */
    async settled() {
      const isThere = () => !document.querySelector("[aria-busy]") && document.querySelector(".connection")?.textContent === "live";
      let before = null;
      for (;;) {
        await frame();
        const boxes = seen(".request h3, .lanes-picture, .request-row").map((one) => Object.values(one.getBoundingClientRect().toJSON()));
        const now = JSON.stringify(boxes);
        if (isThere() && boxes.length && now === before) return;
        before = now;
      }
    },

    /** What may tell why a test failed. */
    state() {
      const { activeElement: active, visibilityState } = document;
      const scrubs = [...document.querySelectorAll(".scrub")].map((one) => [one.value, one.getAttribute("aria-valuetext")]);
      return { address: location.hash, visibilityState, hasFocus: document.hasFocus(), active: active && head(active), scrubs, text: document.body.innerText.slice(0, 4000) };
    },

    /** Texts whose contrast with what is behind them is below 4.5 to 1. */
    faint() {
      const found = [];
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walk.nextNode()) {
        const text = walk.currentNode.textContent;
        const element = walk.currentNode.parentElement;
        if (!text.trim() || !element.checkVisibility() || element.closest(".unseen, :disabled, option")) continue;
        const both = [luminance(rgba(getComputedStyle(element).color)), luminance(ground(element))];
        const [dark, light] = both.sort((a, b) => a - b);
        const contrast = (light + 0.05) / (dark + 0.05);
        if (contrast < 4.5) found.push([text.slice(0, 30), element.className, contrast.toFixed(2)]);
      }
      return found;
    },

    /** Elements that stand out of the page to the left or right. */
    outside() {
      const inside = "#app .rows, .json, .lines";
      return seen("button, h2, h3, h4, select, input, canvas, p, dd")
        .filter((one) => !one.closest(inside) && !one.closest(".unseen"))
        .filter((one) => {
          const { left, right, width } = one.getBoundingClientRect();
          return width && (right > innerWidth + 1 || left < -1);
        })
        .map(head);
    },

    /** What can be used or is a region, and has no name for a screen reader. */
    nameless() {
      const labels = (id) => document.getElementById(id);
      return seen("button, a, input, select, [role=grid], [role=img], dialog, pre[tabindex], main section, article")
        .filter((one) => {
          const by = one.getAttribute("aria-labelledby");
          return by ? !labels(by) : !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length);
        })
        .map(head);
    },

    /** How many pixels of the timeline's picture are painted. */
    async ink() {
      await frame();
      const picture = document.querySelector(".lanes-picture");
      const { data } = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
      let painted = 0;
      for (let at = 3; at < data.length; at += 4) if (data[at]) painted += 1;
      return painted;
    },

    /** The picture, to see whether it changes. */
    async picture() {
      await frame();
      return document.querySelector(".lanes-picture").toDataURL();
    },

    /** Where in the strip of deltas of the only lane it has the lane's own colour: shares of the picture's width. */
    async deltas() {
      await frame();
      const picture = document.querySelector(".lanes-picture");
      const own = rgba(getComputedStyle(document.querySelector(".lane-name .swatch")).backgroundColor);
      const row = (picture.clientHeight - 12) * (picture.width / picture.clientWidth);
      const { data } = picture.getContext("2d").getImageData(0, row, picture.width, 1);
      const found = [];
      for (let x = 0; x < picture.width; x += 1)
        if ([0, 1, 2].every((part) => data[4 * x + part] === own[part])) found.push(x / picture.width);
      return found;
    },

    /** The most lines of the list that were elements at a time, while it was scrolled by `step` px `times` times. */
    async linesWhileScrolling(step, times) {
      const rows = document.querySelector(".rows");
      let most = 0;
      for (let at = 0; at < times; at += 1) {
        rows.scrollTop = at * step;
        await frame();
        most = Math.max(most, document.querySelectorAll(".request-row").length);
      }
      return most;
    },

    focused() {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return [document.activeElement.tagName, outlineStyle, outlineWidth];
    },
  };
})();
