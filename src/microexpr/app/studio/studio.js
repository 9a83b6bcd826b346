// Runs for player, timeline and list; `element` is the part's own, `trigger` speaks to the server.
const video = () => document.querySelector("#player video");
const plot = () => document.querySelector("#timeline .plot");
const end = () => Number(document.querySelector("#timeline .timeline")?.dataset.end) || 0;

const seek = (time) => {
  const shown = video();
  if (!shown) return;
  shown.pause();
  // a little into the frame: at its very edge some browsers still show the one before
  shown.currentTime = Math.max(0, time) + 0.001;
};

const mark = (at) => {
  for (const one of document.querySelectorAll("#timeline [data-at], #movements [data-at]")) {
    if (one.dataset.at === String(at)) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
};

const follow = () => {
  const shown = video(), drawn = plot();
  if (!shown) return;
  const clock = document.querySelector("#player .clock");
  if (clock) clock.textContent = `${shown.currentTime.toFixed(3)} s`;
  if (!drawn || !end()) return;
  let line = drawn.querySelector(".now");
  if (!line) {
    line = document.createElement("i");
    line.className = "now";
    drawn.append(line);
  }
  line.style.left = `${Math.min(100, (100 * shown.currentTime) / end())}%`;
};

const glide = () => {
  follow();
  if (video() && !video().paused) requestAnimationFrame(glide);
};

element.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-at]");
  const step = event.target.closest("[data-step]");
  const drawn = event.target.closest(".plot");
  if (chosen) {
    event.preventDefault();
    mark(chosen.dataset.at);
    seek(Number(chosen.dataset.time));
    trigger("select", { index: Number(chosen.dataset.at) });
  } else if (step && video()) {
    video().pause();
    video().currentTime = Math.max(0, video().currentTime + Number(step.dataset.step));
  } else if (drawn) {
    const box = drawn.getBoundingClientRect();
    seek((end() * (event.clientX - box.left)) / box.width);
  }
});
element.addEventListener("change", (event) => {
  if (event.target.matches(".speed") && video()) video().playbackRate = Number(event.target.value);
});
if (element.closest("#player")) {
  for (const name of ["timeupdate", "seeking", "seeked", "loadedmetadata"])
    element.addEventListener(name, follow, true);
  element.addEventListener("play", glide, true);
} else {
  watch("value", follow);
}
