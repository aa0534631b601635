// Pictures of the same time show the same part of it: by dragging, by keys, by the address; and all of it again.

import { click } from '../hand.mjs';
import { until } from '../wait.mjs';

const PARTS = /^#t=([\d.]+)-([\d.]+)$/;

/** Uses the first picture that can be zoomed. Gives the faults, and how many ways were tried. */
export async function zooms(page) {
  const faults = [];
  let zoomed = 0;
  const pictures = await page.$$('.picture:has(.plot)');
  const picture = await first(pictures, picture => picture.boundingBox());
  if (!picture) return { faults, count: zoomed };

  const state = () =>
    page.evaluate(() => {
      const plots = [...document.querySelectorAll('.picture:has(.times) .plot')].map(plot => {
        const [x, , width] = plot.getAttribute('viewBox').split(' ').map(Number);
        return [x, x + width].map(end => (end / Number(plot.getAttribute('width'))).toFixed(4)).join(' to ');
      });
      return { shown: [...new Set(plots)], hash: location.hash, told: document.getElementById('at')?.textContent };
    });
  // One that does not work leaves the others without a place to begin at.
  const way = async (name, act, isDone) => {
    await act();
    zoomed += 1;
    await until(name, async () => isDone(await state()));
    const { shown } = await state();
    if (shown.length !== 1) faults.push(`shows different times in its pictures after this: ${name}: ${shown}`);
  };
  const all = ({ shown, hash }) => shown[0] === '0.0000 to 1.0000' && hash === '';
  const part = ({ shown, hash }) => shown[0] !== '0.0000 to 1.0000' && PARTS.test(hash);

  await picture.evaluate(picture => picture.scrollIntoView({ block: 'center' }));
  const plot = await (await picture.$('.plot')).evaluate(plot => {
    const box = plot.getBoundingClientRect();
    return { x: box.x, y: box.y, width: box.width, height: box.height };
  });
  const at = share => [plot.x + share * plot.width, plot.y + plot.height / 2];

  await way('it tells what is pointed at', () => page.mouse.move(...at(0.3)), ({ told }) => told?.length > 8);
  await way(
    'a part is dragged across',
    async () => {
      await page.mouse.down();
      await page.mouse.move(...at(0.5));
      await page.mouse.move(...at(0.6));
      await page.mouse.up();
    },
    part,
  );
  const address = page.url();
  await way('a double click shows all', () => page.mouse.click(...at(0.5), { count: 2 }), all);
  await picture.focus();
  await way('+ shows half', () => page.keyboard.press('+'), ({ shown, hash }) => shown[0] === '0.2500 to 0.7500' && PARTS.test(hash));
  await way('an arrow goes on', () => page.keyboard.press('ArrowRight'), ({ shown }) => shown[0] === '0.3750 to 0.8750');
  await way('- shows all', () => page.keyboard.press('-'), all);
  await page.keyboard.press('+');
  await way('Escape shows all', () => page.keyboard.press('Escape'), all);
  await way('an address shows its part', () => page.evaluate(hash => { location.hash = hash; }, new URL(address).hash), part);
  await way('the button shows all', async () => click(await page.$('#all')), all);
  return { faults, count: zoomed };
}

async function first(elements, condition) {
  for (const element of elements) if (await condition(element)) return element;
  return undefined;
}
