/** Converts trees of `page/blocks.js` to the HTML of the CommonMark specification. */

const VOID = new Set(['br', 'hr', 'img', 'input']);
const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

export function html(children) {
  return children
    .map((child) => (typeof child === 'string' ? escape(child) : element(child)))
    .join('');
}

/** Blocks may begin and end with a line end. */
export function withoutLines(text) {
  return text
    .replace(
      /\n*(<\/?(?:p|h[1-6]|ul|ol|li|blockquote|hr|br|pre|table|thead|tbody|tr|th|td)\b[^>]*>)\n*/g,
      '$1',
    )
    .trim();
}

function element({ tag, props, children }) {
  if (tag === 'code-block') {
    const [word] = props.info.split(/\s/);
    const language = word ? ` class="language-${escape(word)}"` : '';
    return `<pre><code${language}>${html(children)}</code></pre>`;
  }
  if (props.class === 'image-link')
    return `<img src="${escape(props.address)}" alt="${html(children)}"${titleOf(props)} />`;
  if (props.class === 'table') return html(children);
  const attributes = tag === 'a' ? ` href="${escape(props.address)}"${titleOf(props)}` : '';
  const start = tag === 'ol' && props.start !== 1 ? ` start="${props.start}"` : '';
  if (VOID.has(tag)) return `<${tag} />`;
  return `<${tag}${attributes}${start}>${html(children)}</${tag}>`;
}

function titleOf({ title }) {
  return title ? ` title="${escape(title)}"` : '';
}

function escape(text) {
  return text.replace(/[&<>"]/g, (character) => ESCAPES[character]);
}
