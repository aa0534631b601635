// What a button saves is a file with the numbers of the page.

import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { until } from '../wait.mjs';

/** Presses every button that saves. Gives the faults, and how many files were saved. */
export async function saves(page, downloads) {
  const faults = [];
  const buttons = await page.$$('button[id^="save"]');
  for (const button of buttons) {
    await button.click();
    const file = await until('a file is saved', () => saved(downloads));
    try {
      const text = await readFile(file, 'utf8');
      const shown = await page.evaluate(() => document.getElementById('data').textContent);
      if (!isDeepStrictEqual(JSON.parse(text), JSON.parse(shown))) faults.push('saves other numbers than it has');
      if (!file.endsWith('.json')) faults.push(`saves JSON as ${file}`);
    } catch (error) {
      faults.push(`saves what is no JSON: ${error.message}`);
    }
    await rm(file);
  }
  return { faults, saved: buttons.length };
}

// A file that is whole: browsers give it another name, or have another beside it, before.
async function saved(folder) {
  const names = await readdir(folder);
  if (names.some(name => /\.(part|crdownload|tmp)$/.test(name))) return undefined;
  const [name] = names.filter(name => !name.startsWith('.'));
  const file = name && join(folder, name);
  return file && (await readFile(file)).length > 0 ? file : undefined;
}
