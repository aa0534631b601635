// What is tried on a page, by the setting of the browser:
//
// - always: whether it fits, and whether it does nothing but show itself;
// - with JavaScript: axe; in light colours what can be used, and the policy; in dark ones printing, which has to be light all the same (Firefox, which takes
//   seconds for it, prints one page);
// - without: whether all can be read.

import { accessible } from './checks/accessible.mjs';
import { fits } from './checks/fits.mjs';
import { points } from './checks/points.mjs';
import { policy } from './checks/policy.mjs';
import { prints } from './checks/prints.mjs';
import { reads, saysSomething, seen } from './checks/reads.mjs';
import { saves } from './checks/saves.mjs';
import { sorts } from './checks/sorts.mjs';
import { visit } from './visit.mjs';

/** Tries one page. `whole` keeps what each page shows with JavaScript. `isFull`: everything that can be used is on it. */
export async function checked(browser, file, folder, whole, isFull) {
  const { dark, script } = browser.setting;
  const tried = {};
  const { given, done } = await visit(browser, file, async page => {
    const faults = [];
    if (!script) {
      faults.push(...reads(await seen(page), whole.get(file)));
    } else if (!dark) {
      whole.set(file, await seen(page));
      faults.push(...saysSomething(whole.get(file)));
      faults.push(...(await used(page, browser.downloads, isFull, tried)));
    } else if (browser.name === 'chromium' || isFull) {
      faults.push(...(await prints(page, folder)));
    }
    faults.push(...(await fits(page)));
    // Last: it leaves a script in the page.
    if (script) faults.push(...(await accessible(page)));
    return faults;
  });
  const faults = [...given, ...done];
  if (isFull && script && !dark) faults.push(...(await policy(browser, file, folder)));
  return { faults, done: tried };
}

async function used(page, downloads, isFull, tried) {
  const [sorting, saving, pointing] = [await sorts(page), await saves(page, downloads), await points(page)];
  Object.assign(tried, { 'headings pressed': sorting.pressed, 'files saved': saving.saved, 'places pointed at': pointing.pointed });
  const untried = isFull ? Object.entries(tried).filter(([, count]) => count === 0) : [];
  return [...sorting.faults, ...saving.faults, ...pointing.faults, ...untried.map(([what]) => `has nothing for this test: ${what}`)];
}
