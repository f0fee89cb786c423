// What the tests measure in the page. Every page runs this before its own scripts.

Object.assign(window, { measures: (() => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  /** @param {string} selector */
  const seen = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  /** @param {Element} element */
  const head = (element) => element.outerHTML.slice(0, 80);

  /**
   * The element of a selector, which must be there.
   * @template {Element} Found
   * @param {string} selector
   * @param {new () => Found} type
   */
  function the(selector, type) {
    const found = document.querySelector(selector);
    if (!(found instanceof type)) throw new Error(`there is no ${selector}`);
    return found;
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {CanvasRenderingContext2DSettings} [settings]
   */
  function context(canvas, settings) {
    const found = canvas.getContext("2d", settings);
    if (!found) throw new Error("the canvas has no context");
    return found;
  }

  const probe = context(document.createElement("canvas"), { willReadFrequently: true });

  /** @param {string} colour */
  function rgba(colour) {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data];
  }

  /** @param {number[]} colour */
  function luminance([red, green, blue]) {
    const [r, g, b] = [red, green, blue].map((one) => {
      const share = one / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  /** @param {Element} element */
  function ground(element) {
    for (let at = /** @type {Element | null} */ (element); at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  }

  return {
    frame,

    isPainted: () => performance.getEntriesByName("first-contentful-paint").length > 0,

    /** Resolves when the data is there and drawn, and nothing moves any more. */
    async settled() {
      const isThere = () => !document.querySelector("[aria-busy]") && document.querySelector(".connection")?.textContent === "live";
      let before = "";
      for (;;) {
        await frame();
        const boxes = seen(".request h3, .lanes-picture, .request-row").map((one) => Object.values(one.getBoundingClientRect().toJSON()));
        const now = JSON.stringify(boxes);
        if (isThere() && boxes.length && now === before) return;
        before = now;
      }
    },

    /** Shown if a test fails. */
    state() {
      const { activeElement: active, visibilityState } = document;
      const scrubs = [...document.querySelectorAll(".scrub")].map((one) => [one instanceof HTMLInputElement && one.value, one.getAttribute("aria-valuetext")]);
      return { address: location.hash, visibilityState, hasFocus: document.hasFocus(), active: active && head(active), scrubs, text: document.body.innerText.slice(0, 4000) };
    },

    /** Texts whose contrast with their background is below 4.5 to 1. */
    faint() {
      const found = [];
      const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walk.nextNode()) {
        const text = walk.currentNode.textContent ?? "";
        const element = walk.currentNode.parentElement;
        if (!element || !text.trim() || !element.checkVisibility() || element.closest(".unseen, :disabled, option")) continue;
        const both = [luminance(rgba(getComputedStyle(element).color)), luminance(ground(element))];
        const [dark, light] = both.sort((a, b) => a - b);
        const contrast = (light + 0.05) / (dark + 0.05);
        if (contrast < 4.5) found.push([text.slice(0, 30), element.className, contrast.toFixed(2)]);
      }
      return found;
    },

    /** Elements that extend beyond the left or right edge of the page. */
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

    /** Controls and regions without a name for screen readers. */
    nameless() {
      return seen("button, a, input, select, [role=grid], [role=img], dialog, pre[tabindex], main section, article")
        .filter((one) => {
          const by = one.getAttribute("aria-labelledby");
          const labels = one instanceof HTMLInputElement || one instanceof HTMLSelectElement ? one.labels : null;
          return by ? !document.getElementById(by) : !(one.getAttribute("aria-label") || one.textContent.trim() || labels?.length);
        })
        .map(head);
    },

    /** How many pixels of the timeline are painted. */
    async ink() {
      await frame();
      const picture = the(".lanes-picture", HTMLCanvasElement);
      const { data } = context(picture).getImageData(0, 0, picture.width, picture.height);
      let painted = 0;
      for (let at = 3; at < data.length; at += 4) if (data[at]) painted += 1;
      return painted;
    },

    /** The timeline as an image, to see whether it changes. */
    async picture() {
      await frame();
      return the(".lanes-picture", HTMLCanvasElement).toDataURL();
    },

    /** Where the strip of deltas of the only lane has the lane's own colour, as shares of the timeline's width. */
    async deltas() {
      await frame();
      const picture = the(".lanes-picture", HTMLCanvasElement);
      const own = rgba(getComputedStyle(the(".lane-name .swatch", HTMLElement)).backgroundColor);
      const row = (picture.clientHeight - 12) * (picture.width / picture.clientWidth);
      const { data } = context(picture).getImageData(0, row, picture.width, 1);
      const found = [];
      for (let x = 0; x < picture.width; x += 1)
        if ([0, 1, 2].every((part) => data[4 * x + part] === own[part])) found.push(x / picture.width);
      return found;
    },

    /**
     * The most lines that were elements at a time while the list was scrolled.
     * @param {number} step px
     * @param {number} times
     */
    async linesWhileScrolling(step, times) {
      const rows = the(".rows", HTMLElement);
      let most = 0;
      for (let at = 0; at < times; at += 1) {
        rows.scrollTop = at * step;
        await frame();
        most = Math.max(most, document.querySelectorAll(".request-row").length);
      }
      return most;
    },

    focused() {
      const active = document.activeElement ?? document.body;
      const { outlineStyle, outlineWidth } = getComputedStyle(active);
      return [active.tagName, outlineStyle, outlineWidth];
    },
  };
})() });
