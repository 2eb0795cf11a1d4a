// The brush, the slider between before and after, and photos that are pasted anywhere on the page.
(() => {
  const COLOUR = "#e4002b", STEP = 8;
  const strokes = new WeakMap(); // of a canvas: lists of points [x, y, radius] in its pixels
  const cursor = new WeakMap(); // of a canvas: where the keyboard paints
  const of = canvas => strokes.get(canvas) ?? strokes.set(canvas, []).get(canvas);
  const canvasNow = () => document.querySelector("#painter canvas");
  const radius = canvas =>
    canvas.closest("#painter").querySelector(".brush input").value / 2 * scale(canvas);
  const scale = canvas => canvas.width / canvas.getBoundingClientRect().width;

  function fit(canvas) { // as large as the picture that is shown
    const image = canvas.parentNode.querySelector("img");
    if (canvas.width !== image.naturalWidth || canvas.height !== image.naturalHeight) {
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    }
  }

  function draw(canvas, colour = COLOUR) {
    const pen = canvas.getContext("2d");
    pen.strokeStyle = colour;
    pen.lineCap = pen.lineJoin = "round";
    for (const stroke of of(canvas)) {
      for (const [n, [x, y, r]] of stroke.entries()) {
        const [fromX, fromY] = stroke[Math.max(n - 1, 0)];
        pen.lineWidth = 2 * r;
        pen.beginPath();
        pen.moveTo(fromX, fromY);
        pen.lineTo(x + 0.01, y); // a dot is a line, too
        pen.stroke();
      }
    }
  }

  function redraw(canvas, at) {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    draw(canvas);
    if (at) { // where the keyboard would paint
      pen.lineWidth = 2 * scale(canvas);
      pen.strokeStyle = "#fff";
      pen.beginPath();
      pen.arc(...at, radius(canvas), 0, 7);
      pen.stroke();
    }
  }

  window.tfreconPainted = () => { // white on black, or nothing
    const canvas = canvasNow();
    if (!canvas || !canvas.offsetParent || !of(canvas).length) return null;
    const pen = canvas.getContext("2d");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    draw(canvas, "#fff");
    const png = canvas.toDataURL("image/png");
    redraw(canvas);
    return png;
  };

  function point(canvas, event) {
    const box = canvas.getBoundingClientRect(), s = scale(canvas);
    return [(event.clientX - box.left) * s, (event.clientY - box.top) * s, radius(canvas)];
  }

  document.addEventListener("pointerdown", event => {
    const canvas = event.target;
    if (!canvas.matches?.("#painter canvas") || event.button) return;
    fit(canvas);
    canvas.setPointerCapture(event.pointerId);
    of(canvas).push([point(canvas, event)]);
    redraw(canvas);
  });
  document.addEventListener("pointermove", event => {
    const canvas = event.target;
    if (!canvas.hasPointerCapture?.(event.pointerId) || !strokes.has(canvas)) return;
    of(canvas).at(-1).push(point(canvas, event));
    redraw(canvas);
  });
  document.addEventListener("click", event => {
    const canvas = canvasNow();
    if (!canvas || !event.target.matches?.("#painter button")) return;
    event.target.name === "undo" ? of(canvas).pop() : strokes.set(canvas, []);
    redraw(canvas);
  });
  document.addEventListener("keydown", event => {
    const canvas = event.target;
    if (!canvas.matches?.("#painter canvas")) return;
    const [right, down] = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0],
    }[event.key] ?? [];
    if (right === undefined) return;
    event.preventDefault(); // the page does not scroll
    fit(canvas);
    const [x, y] = cursor.get(canvas) ?? [canvas.width / 2, canvas.height / 2], s = STEP * scale(canvas);
    const at = [Math.min(Math.max(x + right * s, 0), canvas.width),
                Math.min(Math.max(y + down * s, 0), canvas.height)];
    cursor.set(canvas, at);
    if (event.key === " ") of(canvas).push([[...at, radius(canvas)]]);
    redraw(canvas, at);
  });

  document.addEventListener("input", event => {
    const slider = event.target;
    if (slider.matches?.(".pair input")) slider.parentNode.style.setProperty("--at", `${slider.value}%`);
  });

  document.addEventListener("paste", event => {
    const input = document.querySelector("#photos input[type=file]");
    if (!input || !event.clipboardData.files.length) return;
    input.files = event.clipboardData.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
  });
})();
