// The aspect ratios and resolutions of the API.

const BASE = {
  "16:9": [1280, 720],
  "9:16": [720, 1280],
  "1:1": [1024, 1024],
  "4:3": [1152, 864],
  "3:4": [864, 1152],
  "3:2": [1248, 832],
  "2:3": [832, 1248],
  "21:9": [1568, 672],
};
const SCALE = { "1k": 1, "2k": 2, "4k": 4 };

export const RATIOS = ["auto", "1:1", "4:3", "3:2", "16:9", "21:9", "3:4", "2:3", "9:16"];

/** Return `[width, height]` in pixels; null if the aspect ratio is "auto" or unknown. */
export function pixels(ratio, resolution = "1k") {
  return BASE[ratio]?.map((side) => side * SCALE[resolution]) ?? null;
}

/** Return width divided by height; 1 if the aspect ratio is "auto" or unknown. */
export function aspect(ratio) {
  const [width, height] = BASE[ratio] ?? [1, 1];
  return width / height;
}
