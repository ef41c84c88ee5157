/**
 * Small helpers to find and make elements.
 *
 * @module chat-dom
 */

const COPIED_MS = 2000;

/** @param {string} id @returns {any} any element type: the template has it */
export const byId = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function make(tag, className, text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** @param {string} text @param {() => void} onClick */
export function makeButton(text, onClick) {
  const button = /** @type {HTMLButtonElement} */ (make('button', 'small', text));
  button.type = 'button';
  button.addEventListener('click', onClick);
  return button;
}

/** A button that is enabled when it is worth trying again. @param {number} retryAfterMs @param {() => void} onRetry */
export function retryButton(retryAfterMs, onRetry) {
  const button = makeButton('Try again', () => {
    button.remove();
    onRetry();
  });
  button.classList.add('retry');
  button.disabled = true;
  setTimeout(() => (button.disabled = false), retryAfterMs);
  return button;
}

/**
 * Make the buttons of a selector copy a text, including buttons created later.
 *
 * @param {HTMLElement} container
 * @param {string} selector
 * @param {(button: HTMLElement) => string} textOf
 */
export function copyOnClick(container, selector, textOf) {
  container.addEventListener('click', async ({ target }) => {
    const button = /** @type {HTMLElement | null} */ (target instanceof Element ? target.closest(selector) : null);
    if (!button) return;
    const words = button.textContent;
    await navigator.clipboard.writeText(textOf(button));
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = words), COPIED_MS);
  });
}
