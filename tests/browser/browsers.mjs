// Debian's browsers, each with a theme, and with JavaScript or without. Firefox takes both as preferences, so that each setting is a process of its own;
// all pages are shown by it, one after the other.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';

/** Every setting that a page is looked at with. The first tells what there is to be read. */
export const SETTINGS = [
  { dark: false, script: true },
  { dark: true, script: true },
  { dark: false, script: false },
  { dark: true, script: false },
];

// Nothing answers there, so that a name that gets past the policy goes nowhere. This machine's own addresses are not affected: there the tests listen.
const NOWHERE = { host: '127.0.0.1', port: 1 };

/** How a setting is called where something is wrong. */
export const called = ({ dark, script }) => `${dark ? 'dark' : 'light'}${script ? '' : ', no JavaScript'}`;

/** Starts a browser: `name` is chromium or firefox. What it saves goes to `folder`/downloads. */
export async function start(name, program, setting, folder) {
  const downloads = join(folder, 'downloads');
  await mkdir(downloads, { recursive: true });
  const common = { executablePath: program, headless: true, protocolTimeout: 90_000, env: { ...process.env, HOME: folder } };
  const browser = await puppeteer.launch(name === 'firefox' ? { ...common, ...firefox(setting, downloads) } : { ...common, ...chromium(downloads) });
  return {
    name,
    setting,
    downloads,
    version: await browser.version(),
    close: () => browser.close(),
    tab: () => tab(browser, name, setting),
  };
}

async function tab(browser, name, { dark, script }) {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  if (name === 'chromium') {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
    await page.setJavaScriptEnabled(script);
  }
  return page;
}

function chromium(downloadPath) {
  return {
    browser: 'chrome',
    // As root it has no sandbox; and it shows nothing but what the tests have made.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
    downloadBehavior: { policy: 'allow', downloadPath },
  };
}

function firefox({ dark, script }, downloadPath) {
  return {
    browser: 'firefox',
    extraPrefsFirefox: {
      'javascript.enabled': script,
      'layout.css.prefers-color-scheme.content-override': dark ? 0 : 1,
      'browser.download.folderList': 2,
      'browser.download.dir': downloadPath,
      'browser.download.useDownloadDir': true,
      // What it opens for the first file would take the keys of the next page.
      'browser.download.alwaysOpenPanel': false,
      'browser.download.always_ask_before_handling_new_types': false,
      'network.proxy.type': 1,
      'network.proxy.socks': NOWHERE.host,
      'network.proxy.socks_port': NOWHERE.port,
      'network.proxy.socks_remote_dns': true,
    },
  };
}
