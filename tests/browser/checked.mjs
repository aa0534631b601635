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
import { zooms } from './checks/zooms.mjs';
import { visit } from './visit.mjs';

/** So many files are saved of the full page, at most: Chromium drops what a page saves beyond ten in a second. */
const MANY = 10;

/** And of the others: the page's numbers, and rows of pictures. */
const FEW = 4;

/** Tries one page. `whole` keeps what each page shows with JavaScript. `isFull`: everything that can be used is on it. */
export async function checked(browser, file, folder, whole, isFull) {
  const { dark, script } = browser.setting;
  const tried = {};
  const used = {
    'headings pressed': sorts,
    'files saved': page => saves(page, browser.downloads, isFull ? MANY : FEW),
    'places pointed at': points,
    'ways to zoom': zooms,
  };
  const { given, done } = await visit(browser, file, async page => {
    const faults = [];
    // One that breaks off does not keep the others from being tried.
    const attempt = async check => faults.push(...(await check(page).catch(error => [`the test broke off: ${error.stack}`])));
    if (!script) {
      await attempt(async () => reads(await seen(page, file), whole.get(file)));
    } else if (!dark) {
      await attempt(async () => {
        whole.set(file, await seen(page, file));
        return saysSomething(whole.get(file));
      });
      for (const [what, use] of Object.entries(used)) {
        await attempt(async () => {
          const { faults, count } = await use(page);
          tried[what] = count;
          return isFull && count === 0 ? [...faults, `has nothing for this test: ${what}`] : faults;
        });
      }
    } else if (browser.name === 'chromium' || isFull) {
      await attempt(() => prints(page, folder));
    }
    await attempt(() => fits(page));
    // Last: it leaves a script in the page.
    if (script) await attempt(() => accessible(page));
    return faults;
  });
  const faults = [...given, ...done];
  if (isFull && script && !dark) faults.push(...(await policy(browser, file, folder)));
  return { faults, done: tried };
}
