/**
 * Turns the current elements into the wanted ones with as few changes as possible, so that selection and scroll position survive.
 *
 * @module chat-morph
 */

/** @param {ChildNode} shown @param {ChildNode} wanted */
export function morph(shown, wanted) {
  if (shown.isEqualNode(wanted)) return;
  if (shown instanceof Text && wanted instanceof Text) morphText(shown, wanted.data);
  else if (shown instanceof Element && wanted instanceof Element && shown.tagName === wanted.tagName) morphElement(shown, wanted);
  else shown.replaceWith(wanted);
}

/** @param {Text} shown @param {string} text */
function morphText(shown, text) {
  if (text.startsWith(shown.data)) shown.appendData(text.slice(shown.data.length));
  else shown.data = text;
}

/** @param {Element} shown @param {Element} wanted */
function morphElement(shown, wanted) {
  for (const { name } of [...shown.attributes]) if (!wanted.hasAttribute(name)) shown.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  const children = [...wanted.childNodes];
  children.forEach((child, index) => {
    const there = shown.childNodes[index];
    if (there) morph(there, child);
    else shown.append(child);
  });
  while (shown.childNodes.length > children.length) shown.lastChild?.remove();
}
