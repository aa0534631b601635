// What a button saves is a file: the numbers of the page as JSON, or the rows of a table or picture as CSV.

import { readFile, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { click } from '../hand.mjs';
import { until } from '../wait.mjs';

/** Presses the first buttons that save, so many at `most`. Gives the faults, and how many files were saved. */
export async function saves(page, downloads, most) {
  const faults = [];
  const buttons = await page.$$('button[id^="save"], button.save');
  let saved = 0;
  for (const button of buttons) {
    // Those of what is not seen are not either.
    if (saved >= most || !(await button.boundingBox())) continue;
    await click(button);
    const file = await until('a file is saved', () => whole(downloads));
    const text = await readFile(file, 'utf8');
    faults.push(...(file.endsWith('.csv') ? csv(text) : await json(text, page)).map(fault => `${fault}: ${basename(file)}`));
    await rm(file);
    saved += 1;
  }
  return { faults, count: saved };
}

async function json(text, page) {
  const shown = await page.evaluate(() => document.getElementById('data').textContent);
  try {
    return isDeepStrictEqual(JSON.parse(text), JSON.parse(shown)) ? [] : ['saves other numbers than it has'];
  } catch (error) {
    return [`saves what is no JSON (${error.message})`];
  }
}

// Of RFC 4180: lines that end with CR LF, as many cells in each as in the first, quoted where they have to be.
function csv(text) {
  const cell = '(?:"(?:[^"]|"")*"|[^",\\r\\n]*)';
  const row = new RegExp(`${cell}(?:,${cell})*\\r\\n`, 'y');
  const widths = [];
  for (let at = 0; at < text.length; at = row.lastIndex) {
    row.lastIndex = at;
    const line = row.exec(text)?.[0];
    if (!line) return [`saves what is no CSV (from ${JSON.stringify(text.slice(at, at + 60))})`];
    widths.push(line.replace(/"(?:[^"]|"")*"/g, '').split(',').length);
  }
  if (widths.length < 2) return ['saves CSV without rows'];
  return widths.every(width => width === widths[0]) ? [] : ['saves CSV whose rows have different numbers of cells'];
}

// A file that is whole: browsers give it another name, or have another beside it, before.
async function whole(folder) {
  const names = await readdir(folder);
  if (names.some(name => /\.(part|crdownload|tmp)$/.test(name))) return undefined;
  const [name] = names.filter(name => !name.startsWith('.'));
  const file = name && join(folder, name);
  return file && (await readFile(file)).length > 0 ? file : undefined;
}
