// Looks at pages in headless Chromium: takes their pictures, and tells what is wrong with them.
//
//   node browser.js <JOB.json >SEEN.json
//
// JOB is {chromium, pages: [{address, width, scheme, picture, audit}]}: `scheme` is light or dark, `picture` a PNG or
// WebP file to write or null, `audit` whether axe is asked. SEEN has for each page {text, wide, missing, axe, requests}:
// what it says, how many pixels it is wider than the window, characters without a glyph, what axe finds serious or
// worse, and addresses that it loads.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { json } from "node:stream/consumers";

import puppeteer from "puppeteer-core";

const HEIGHT = 100; // pages are higher
const QUALITY = 50;
const GRAVE = ["serious", "critical"];

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function look(browser, { address, width, scheme, picture, audit }) {
  const page = await browser.newPage();
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.setViewport({ width, height: HEIGHT });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(address);
  if (picture) {
    await photograph(page, width, picture);
  }
  const seen = await page.evaluate(() => ({
    text: document.body.innerText,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  }));
  const missing = await page.evaluate(charactersWithoutGlyph);
  const violations = audit ? await askAxe(page) : [];
  await page.close();
  return { ...seen, missing, axe: violations, requests: requests.filter((url) => url !== address) };
}

// The window is made as high as the page: a full-page picture would shift what runs from right to left.
async function photograph(page, width, path) {
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewport({ width, height });
  await page.screenshot({ path, captureBeyondViewport: false, ...(path.endsWith(".webp") && { quality: QUALITY }) });
}

async function askAxe(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations
    .filter(({ impact }) => GRAVE.includes(impact))
    .map(({ id, impact, nodes }) => ({ id, impact, where: nodes.map(({ html }) => html) }));
}

// Runs in the page. A character that no font has is drawn as the same box as one that Unicode has not given out.
function charactersWithoutGlyph() {
  const size = 40;
  const pen = new OffscreenCanvas(size, size).getContext("2d", { willReadFrequently: true });
  pen.font = `24px ${getComputedStyle(document.querySelector("h1") ?? document.body).fontFamily}`;
  const drawn = (character) => {
    pen.clearRect(0, 0, size, size);
    pen.fillText(character, 4, 30);
    return pen.getImageData(0, 0, size, size).data.join();
  };
  const box = drawn("\u0378");
  const visible = new Set(document.body.innerText.match(/[\p{L}\p{N}\p{P}\p{S}]/gu));
  return [...visible].filter((character) => drawn(character) === box);
}

const job = await json(process.stdin);
const browser = await puppeteer.launch({
  executablePath: job.chromium,
  args: ["--no-sandbox", "--hide-scrollbars", "--font-render-hinting=none"], // root has no sandbox
});
try {
  const seen = [];
  for (const page of job.pages) {
    seen.push(await look(browser, page));
  }
  process.stdout.write(JSON.stringify(seen));
} finally {
  await browser.close();
}
