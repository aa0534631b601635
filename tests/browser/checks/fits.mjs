// No page has to be scrolled sideways: what is wide scrolls in itself.

const WIDTHS = [400, 1100, 1600];

export async function fits(page) {
  const faults = [];
  for (const width of WIDTHS) {
    await page.setViewport({ width, height: 900 });
    const [needed, there, body] = await page.evaluate(() => {
      const root = document.documentElement;
      return [root.scrollWidth, root.clientWidth, document.body.scrollWidth];
    });
    if (Math.max(needed, body) > there) faults.push(`is ${Math.max(needed, body)} px wide in a window of ${width} px, which has room for ${there}`);
  }
  return faults;
}
