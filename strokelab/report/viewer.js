// The viewer of the worst cases: three planes on canvases, one crosshair. Reads the JSON beside it, changes no number.
(() => {
  const root = document.getElementById("viewer");
  if (!root) return;
  const cases = JSON.parse(document.getElementById("viewer-data").textContent);
  const kinds = ["nothing drawn or predicted", "true positive", "false positive (false alarm)", "false negative (missed)"];
  // Axes of a RAS+ array: what runs across a plane, what runs up it, and what a slice is numbered along.
  const planes = [{ across: 0, up: 1, normal: 2 }, { across: 0, up: 2, normal: 1 }, { across: 1, up: 2, normal: 0 }];
  const find = name => root.querySelector("[data-viewer=" + name + "]");
  const picker = find("case"), says = find("says"), boxes = [...root.querySelectorAll("[data-kind]")];
  const colours = boxes.map(box => [1, 3, 5].map(i => parseInt(box.dataset.colour.slice(i, i + 2), 16)));
  const views = [...root.querySelectorAll("[data-plane]")].map((figure, i) => ({
    ...planes[i], figure, canvas: figure.querySelector("canvas"), slider: figure.querySelector("input"),
    number: figure.querySelector("output"),
  }));
  let shown = null, at = [0, 0, 0];

  // A mosaic of axial slices, decoded by the browser: one byte per voxel.
  const unpack = async packed => {
    const picture = new Image();
    picture.src = packed.src;
    await picture.decode();
    const canvas = document.createElement("canvas");
    canvas.width = picture.width;
    canvas.height = picture.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const voxels = new Uint8Array(pixels.length / 4);
    for (let i = 0; i < voxels.length; i++) voxels[i] = pixels[4 * i];
    const [x, y, z] = packed.shape, columns = Math.ceil(Math.sqrt(z)), width = canvas.width;
    const value = (i, j, k) => voxels[(Math.floor(k / columns) * y + j) * width + (k % columns) * x + i];
    return { ...packed, value };
  };

  // One slice, coloured by a table of 256 colours; right, anterior and superior are left and up, as in the overlays.
  const slice = (volume, view, colour) => {
    const width = volume.shape[view.across], height = volume.shape[view.up], where = [0, 0, 0];
    const picture = new ImageData(width, height), pixels = new Uint32Array(picture.data.buffer);
    where[view.normal] = Math.floor(at[view.normal] / volume.step[view.normal]);
    for (let row = 0, i = 0; row < height; row++) {
      where[view.up] = height - 1 - row;
      for (let column = 0; column < width; column++) {
        where[view.across] = width - 1 - column;
        pixels[i++] = colour[volume.value(where[0], where[1], where[2])];
      }
    }
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return canvas;
  };
  const colourTable = colourOf => new Uint32Array(
    Uint8ClampedArray.from(Array.from({ length: 256 }, (_, value) => colourOf(value)).flat()).buffer);
  const greys = colourTable(value => [value, value, value, 255]);

  const kindOf = value => Math.round(value / 85);
  const draw = () => {
    if (!shown) return;
    const on = boxes.map(box => box.checked), crosshair = find("crosshair").checked;
    const paint = colourTable(value => {
      const kind = kindOf(value);
      return kind && on[kind - 1] ? [...colours[kind - 1], 150] : [0, 0, 0, 0];
    });
    for (const view of views) {
      const { canvas } = view, context = canvas.getContext("2d");
      const width = canvas.width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
      const height = canvas.height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
      const put = (volume, colour) => {
        const part = axis => volume.shape[axis] * volume.step[axis] / shown.crop[axis];
        const across = width * part(view.across), up = height * part(view.up);
        context.drawImage(slice(volume, view, colour), width - across, height - up, across, up);
      };
      context.fillRect(0, 0, width, height);
      context.imageSmoothingEnabled = true;
      put(shown.image, greys);
      context.imageSmoothingEnabled = false;
      put(shown.marks, paint);
      if (crosshair) {
        const x = width * (1 - (at[view.across] + 0.5) / shown.crop[view.across]);
        const y = height * (1 - (at[view.up] + 0.5) / shown.crop[view.up]);
        context.fillStyle = "#ffffffb0";
        context.fillRect(x, 0, devicePixelRatio, y - 8 * devicePixelRatio);
        context.fillRect(x, y + 8 * devicePixelRatio, devicePixelRatio, height);
        context.fillRect(0, y, x - 8 * devicePixelRatio, devicePixelRatio);
        context.fillRect(x + 8 * devicePixelRatio, y, width, devicePixelRatio);
        context.fillStyle = "#000";
      }
      view.slider.value = at[view.normal];
      view.number.textContent = shown.first[view.normal] + at[view.normal] + 1 + " of " + shown.full[view.normal];
    }
    const voxel = at.map((i, axis) => Math.floor(i / shown.marks.step[axis]));
    says.textContent = "At the crosshair: " + kinds[kindOf(shown.marks.value(...voxel))] + ".";
  };

  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
  const move = (axis, to) => {
    if (!shown) return;
    at[axis] = Math.min(shown.crop[axis] - 1, Math.max(0, Math.floor(to)));
    redraw();
  };

  const show = async index => {
    const chosen = cases[index];
    says.textContent = "Unpacking …";
    try {
      const [image, marks] = await Promise.all([unpack(chosen.image), unpack(chosen.marks)]);
      const counts = [0, 0, 0, 0], [x, y, z] = marks.shape;
      for (let k = 0; k < z; k++) for (let j = 0; j < y; j++) for (let i = 0; i < x; i++) counts[kindOf(marks.value(i, j, k))]++;
      if (counts.slice(1).join() !== chosen.counts.join()) throw new Error("the marks arrived altered");
      if (+picker.value !== index) return; // another case was chosen meanwhile
      shown = { ...chosen, image, marks };
    } catch (error) {
      shown = null;
      says.textContent = "This browser does not hand out the pixels of a picture (" + error.message + "); see the pictures above.";
      return;
    }
    at = [...(shown.places[2] || shown.places[1] || shown.places[0] || shown.crop.map(size => size >> 1))];
    for (const view of views) {
      const wide = shown.crop[view.across] * shown.spacing[view.across], high = shown.crop[view.up] * shown.spacing[view.up];
      view.figure.style.flexGrow = wide; // one scale for all three planes
      view.canvas.style.aspectRatio = wide + "/" + high;
      view.slider.max = shown.crop[view.normal] - 1;
    }
    root.querySelectorAll("[data-go]").forEach(button => { button.disabled = !shown.places[button.dataset.go]; });
    find("coarse").textContent = shown.image.step.some(step => step > 1)
      ? "The image is averaged over " + shown.image.step.join(" × ") + " voxels to keep this file small; the marks are not." : "";
    if (shown.marks.step.some(step => step > 1)) find("coarse").textContent =
      "Image and marks are coarsened to fit; of a coarser voxel a miss is shown before a false alarm before a hit.";
    redraw();
  };

  for (const view of views) {
    view.slider.addEventListener("input", () => move(view.normal, view.slider.value));
    const point = event => {
      const box = view.canvas.getBoundingClientRect();
      if (!shown) return;
      move(view.across, (1 - (event.clientX - box.left) / box.width) * shown.crop[view.across]);
      move(view.up, (1 - (event.clientY - box.top) / box.height) * shown.crop[view.up]);
    };
    view.canvas.addEventListener("click", point);
    // A finger that moves scrolls the page; a mouse that moves with its button down drags the crosshair.
    view.canvas.addEventListener("pointermove", event => { if (event.pointerType === "mouse" && event.buttons & 1) point(event); });
    view.canvas.addEventListener("wheel", event => {
      if (document.activeElement !== view.canvas) return; // the page scrolls until the picture is chosen
      event.preventDefault();
      move(view.normal, at[view.normal] - Math.sign(event.deltaY));
    }, { passive: false });
    const keys = {
      ArrowLeft: [view.across, 1], ArrowRight: [view.across, -1], ArrowUp: [view.up, 1], ArrowDown: [view.up, -1],
      PageUp: [view.normal, 1], PageDown: [view.normal, -1],
    };
    view.canvas.addEventListener("keydown", event => {
      const key = keys[event.key];
      if (!key || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      move(key[0], at[key[0]] + key[1] * (event.shiftKey ? 10 : 1));
    });
  }
  root.querySelectorAll("[data-go]").forEach(button => button.addEventListener("click", () => {
    if (!shown) return;
    at = [...shown.places[button.dataset.go]];
    redraw();
  }));
  [...boxes, find("crosshair")].forEach(box => box.addEventListener("change", redraw));
  picker.addEventListener("change", () => show(+picker.value));
  root.hidden = false;
  new ResizeObserver(redraw).observe(root);
  // Nothing is unpacked before it is nearly in sight.
  const sight = new IntersectionObserver(entries => {
    if (entries.some(entry => entry.isIntersecting)) { sight.disconnect(); show(0); }
  }, { rootMargin: "100% 0px" });
  sight.observe(root);
})();
