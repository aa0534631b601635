// The policy of a page holds: whatever gets into its text neither runs nor fetches.

import { createServer } from 'node:http';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../wait.mjs';
import { visit } from '../visit.mjs';

/** A server that counts who comes. */
async function listen() {
  const server = createServer((request, response) => {
    counted.visitors.push(request.url);
    response.end();
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const counted = { address: `http://127.0.0.1:${server.address().port}`, visitors: [], close: () => server.close() };
  return counted;
}

const injected = address => ({
  'img-src': `<img alt="" src="${address}/image.png">`,
  'script-src-elem': `<script src="${address}/script.js"></script><script>document.title = 'ran'</script>`,
  'script-src-attr': `<img alt="" src="" onerror="document.title = 'ran'">`,
  'style-src-elem': `<link rel="stylesheet" href="${address}/style.css"><style>h1 { display: none }</style>`,
  'style-src-attr': `<p style="background: url(${address}/style.png)">x</p>`,
  'frame-src': `<iframe src="${address}/frame.html"></iframe>`,
  'media-src': `<video src="${address}/film.webm"></video>`,
  'object-src': `<object data="${address}/object"></object>`,
  'base-uri': `<base href="${address}/">`,
});

/** Injects everything into the page in `file` and opens it. */
export async function policy(browser, file, folder) {
  const server = await listen();
  try {
    const parts = injected(server.address);
    const page = await readFile(file, 'utf8');
    const changed = join(folder, 'injected.html');
    await writeFile(changed, page.replace('</main>', () => `</main>${Object.values(parts).join('\n')}`));
    const { given } = await visit(browser, changed, async page => {
      await page.evaluate(async address => { await fetch(`${address}/fetched`).catch(() => {}); }, server.address);
      const forbidden = () => page.evaluate(() => globalThis.violations.map(violation => violation.split(' ')[0]));
      const awaited = [...Object.keys(parts), 'connect-src'];
      const missing = async () => (found => awaited.filter(part => !found.includes(part)))(await forbidden());
      const ran = () => page.evaluate(() => document.title === 'ran');
      // Where something ran, not all is forbidden, and there is nothing to wait for.
      await until('the policy has forbidden everything, or something ran', async () => (await missing()).length === 0 || (await ran())).catch(() => {});
      const faults = (await missing()).map(part => `lets through what ${part} is to forbid`);
      if (await ran()) faults.push('runs what was injected');
      if (await page.$eval('h1', heading => getComputedStyle(heading).display === 'none')) faults.push('has the style that was injected');
      return faults;
    });
    return [...given, ...server.visitors.map(url => `fetches ${url}`)];
  } finally {
    server.close();
  }
}
