// A page in a tab, and all that it does besides showing itself: what it asks for, what it says, what its policy forbids it.

import { pathToFileURL } from 'node:url';

/** Opens a page, lets `work` use it, and closes it. Gives what it did that no page may do, and the faults that `work` found; that it broke off is one. */
export async function visit(browser, file, work) {
  const address = pathToFileURL(file).href;
  const page = await browser.tab();
  const done = [];
  page.on('console', message => done.push(`console ${message.type()}: ${message.text()}`));
  page.on('pageerror', error => done.push(`error: ${error.message}`));
  page.on('request', request => {
    if (leaves(request.url(), address)) done.push(`asks for ${request.url()}`);
  });
  try {
    await page.evaluateOnNewDocument(() => {
      globalThis.violations = [];
      document.addEventListener('securitypolicyviolation', event => globalThis.violations.push(`${event.effectiveDirective} ${event.blockedURI}`));
    });
    await page.goto(address, { waitUntil: 'load' });
    // What is folded away is part of the page, too.
    await page.evaluate(() => document.querySelectorAll('details').forEach(folded => { folded.open = true; }));
    const given = await work(page).catch(error => [`the test broke off: ${error.stack}`]);
    // An empty list without JavaScript, where browsers only say it on the console.
    const violations = await page.evaluate(() => globalThis.violations ?? []);
    return { given, done: [...done, ...violations.map(violation => `forbidden by the policy: ${violation}`)] };
  } finally {
    await page.close();
  }
}

// What is in the page itself cannot leave it; anything else than its own file can.
function leaves(url, own) {
  return !['data:', 'blob:', 'about:'].includes(new URL(url).protocol) && url.split('#')[0] !== own;
}
