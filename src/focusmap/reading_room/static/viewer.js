// Two canvases over one image: as it is, and under a heat map and the outline of a mask. Levels come from the server as
// they are stored; window, level, colours, opacity and zoom are applied here.

// Plasma (matplotlib, CC0), at 16 places; never grey or black, so that a colour is not mistaken for tissue.
const PLASMA = [[13, 8, 135], [51, 5, 151], [80, 2, 162], [106, 0, 168], [132, 5, 167], [156, 23, 158], [177, 42, 144], [195, 61, 128], [211, 81, 113], [225, 100, 98], [237, 121, 83], [246, 143, 68], [252, 166, 54], [254, 192, 41], [249, 220, 36], [240, 249, 33]];
// As the report's overlays: invisible below a twentieth of the scale, most opaque from a little above half of it.
const TRANSPARENT_BELOW = 0.05, OPAQUE_FROM = 0.55, OPACITY = 0.72;

const COLOURS = new Uint8ClampedArray(256 * 4);
for (let k = 0; k < 256; k++) {
  const place = (k / 255) * (PLASMA.length - 1), low = Math.min(Math.floor(place), PLASMA.length - 2), share = place - low;
  for (let c = 0; c < 3; c++) COLOURS[4 * k + c] = PLASMA[low][c] * (1 - share) + PLASMA[low + 1][c] * share;
  COLOURS[4 * k + 3] = 255 * OPACITY * Math.max(0, Math.min(1, (k / 255 - TRANSPARENT_BELOW) / (OPAQUE_FROM - TRANSPARENT_BELOW)));
}

export class Viewer {
  constructor(canvases, { moved }) {
    this.canvases = canvases;
    this.moved = moved;
    this.place = { scale: 1, x: 0, y: 0 };
    this.strength = 1;
    this.isMapped = true;
    this.cache = new Map();
    for (const canvas of Object.values(canvases)) this.listen(canvas);
  }

  open(item) {
    this.item = item;
    this.image = item.answer.image;
    this.plane = 0;
    this.position = Math.floor(this.image.shape[0] / 2);
    this.wanted = { label: null, mask: null, item };
    this.cache.clear();
    this.low = this.image.window[0];
    this.high = this.image.window[1];
    this.fit();
    this.moved();
  }

  layers(wanted) {
    this.wanted = wanted;
    this.item = wanted.item;
    this.load();
  }

  slice(plane, position) {
    this.plane = plane;
    this.position = position;
    this.load();
  }

  // Rows and columns of a plane, and how much taller than wide one of its elements is.
  geometry() {
    const [n, rows, columns] = this.image.shape, [across, down, along] = this.image.size;
    return [[rows, columns, down / along], [n, columns, across / along], [n, rows, across / down]][this.plane];
  }

  async fetched(address) {
    if (!this.cache.has(address)) {
      if (this.cache.size > 200) this.cache.delete(this.cache.keys().next().value);
      this.cache.set(address, fetch(address).then((answer) => (answer.ok ? answer.arrayBuffer() : null)).catch(() => null));
    }
    return this.cache.get(address);
  }

  async load() {
    if (!this.image) return;
    const { label, mask, item } = this.wanted, base = `/api/items/${item.id}`, place = `${this.plane}/${this.position}`;
    const key = `${item.id} ${place} ${label} ${mask} ${item.maps.version} ${item.mask.state}`;
    this.key = key;
    const nothing = Promise.resolve(null);
    const isMasked = mask !== null && item.mask.state === "drawn";
    const [levels, map, outline] = await Promise.all([
      this.fetched(`${base}/image/${place}`),
      label === null ? nothing : this.fetched(`${base}/maps/${label}/${place}?version=${item.maps.version}`),
      isMasked ? this.fetched(`${base}/mask/${mask}/${place}`) : nothing,
    ]);
    if (this.key !== key) return;
    this.levels = levels && (this.image.bits === 16 ? new Uint16Array(levels) : new Uint8Array(levels));
    this.map = map && new Uint8Array(map);
    this.mask = outline && new Uint8Array(outline);
    this.paint();
  }

  // From levels to the bytes of a canvas, through window and level.
  paint() {
    if (!this.levels) return;
    const [rows, columns] = this.geometry(), top = this.image.bits === 16 ? 65535 : 255;
    const table = new Uint8ClampedArray(top + 1), step = (this.image.high - this.image.low) / top, width = this.high - this.low || 1;
    for (let k = 0; k <= top; k++) table[k] = (255 * (this.image.low + k * step - this.low)) / width;
    const pixels = new ImageData(columns, rows), n = rows * columns, colours = this.image.colour ? 3 : 1;
    for (let i = 0; i < n; i++) {
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = table[this.levels[colours * i + (colours === 3 ? c : 0)]];
      pixels.data[4 * i + 3] = 255;
    }
    this.drawn = this.sheet(pixels);
    this.coloured = this.map && this.sheet(this.inColour(columns, rows));
    this.outlined = this.mask && this.sheet(this.border(columns, rows));
    this.draw();
  }

  sheet(pixels) {
    const canvas = document.createElement("canvas");
    canvas.width = pixels.width;
    canvas.height = pixels.height;
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  }

  inColour(columns, rows) {
    const pixels = new ImageData(columns, rows);
    for (let i = 0; i < rows * columns; i++) {
      for (let c = 0; c < 4; c++) pixels.data[4 * i + c] = COLOURS[4 * this.map[i] + c];
    }
    return pixels;
  }

  border(columns, rows) {
    const pixels = new ImageData(columns, rows), at = (r, c) => (r < 0 || c < 0 || r >= rows || c >= columns ? 0 : this.mask[r * columns + c]);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        if (!at(r, c) || (at(r - 1, c) && at(r + 1, c) && at(r, c - 1) && at(r, c + 1))) continue;
        pixels.data.set([255, 255, 255, 255], 4 * (r * columns + c));
      }
    }
    return pixels;
  }

  draw() {
    if (!this.drawn) return;
    this.drawOn(this.canvases.plain, false);
    this.drawOn(this.canvases.overlay, true);
  }

  drawOn(canvas, isOverlay) {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const [rows, columns, tall] = this.geometry(), context = canvas.getContext("2d");
    const usual = Math.min(canvas.width / columns, canvas.height / (rows * tall)), scale = usual * this.place.scale;
    const size = [columns * scale, rows * tall * scale];
    const corner = [(canvas.width - size[0]) / 2 + this.place.x * ratio, (canvas.height - size[1]) / 2 + this.place.y * ratio];
    // The pixels of a small image are shown as they are.
    context.imageSmoothingEnabled = scale < 6;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.drawn, ...corner, ...size);
    if (isOverlay && this.coloured && this.isMapped) {
      context.globalAlpha = this.strength;
      context.imageSmoothingEnabled = true;
      context.drawImage(this.coloured, ...corner, ...size);
      context.globalAlpha = 1;
    }
    if (this.outlined) {
      context.imageSmoothingEnabled = false;
      context.drawImage(this.outlined, ...corner, ...size);
    }
  }

  windowing() {
    const range = this.image.high - this.image.low || 1;
    return { window: this.high - this.low, level: (this.high + this.low) / 2, range: [this.image.low, this.image.high, range] };
  }

  setWindow(width, level) {
    this.low = level - Math.max(width, 1e-6) / 2;
    this.high = level + Math.max(width, 1e-6) / 2;
    this.paint();
    this.moved();
  }

  opacity(value) { this.strength = Math.max(0, Math.min(1, value)); this.draw(); }
  withMap(value) { this.isMapped = value; this.draw(); }
  zoom(factor) { this.place.scale = Math.max(0.2, Math.min(20, this.place.scale * factor)); this.draw(); }
  fit() { this.place = { scale: 1, x: 0, y: 0 }; this.draw(); }
  reset() { [this.low, this.high] = this.image.window; this.fit(); this.paint(); this.moved(); }

  listen(canvas) {
    const held = new Map();
    let apart = 0;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); held.set(event.pointerId, event); apart = 0; });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => { held.delete(event.pointerId); apart = 0; });
    canvas.addEventListener("pointermove", (event) => {
      if (!held.has(event.pointerId)) return;
      const before = held.get(event.pointerId);
      held.set(event.pointerId, event);
      if (held.size === 2) {
        const [a, b] = [...held.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        if (apart) this.zoom(now / apart);
        apart = now;
        return;
      }
      const moved = [event.clientX - before.clientX, event.clientY - before.clientY];
      if (event.buttons === 2 || event.shiftKey) {
        const { window: width, level, range } = this.windowing();
        this.setWindow(Math.max(width + (moved[0] * range[2]) / 300, range[2] / 1000), level + (moved[1] * range[2]) / 300);
      } else {
        this.place.x += moved[0];
        this.place.y += moved[1];
        this.draw();
      }
    });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(event.deltaY < 0 ? 1.12 : 1 / 1.12); }, { passive: false });
    canvas.addEventListener("dblclick", () => this.fit());
  }
}
