/**
 * Finds bare addresses with a scheme in text. The patterns are those of linkify-it (`../vendor/linkify-it.LICENSE`)
 * for `http:`, `https:` and `mailto:`, without its search for domains: `main.py` and `README.md` are files, although
 * .py and .md are domains. The marks at the end of an address are left out as in GitHub's Markdown, and an
 * address with a name before its host is text.
 *
 * @module
 */

/** White space, with what nobody sees: marks of the direction, and spaces without a width. */
const SPACE = String.raw`[\p{Bidi_C}\u200b\ufeff\p{Z}\p{Cc}]`;
const BREAK = String.raw`[\p{Bidi_C}\u200b\ufeff\p{Z}\p{Cc}\p{P}<>\uff5c]`;
const LETTER = String.raw`[^\p{Bidi_C}\u200b\ufeff\p{Z}\p{Cc}\p{P}<>\uff5c]`;
const DOMAIN = `${LETTER}(?:(?:-|${LETTER}){0,61}${LETTER})?`;
const HOST = String.raw`(?:\[[\da-f:.]{2,45}\]|(?:${DOMAIN}\.){0,10}${DOMAIN})`;
const HOST_END = String.raw`(?=$|${BREAK})(?!-|\.-|[._:@](?!$|${BREAK}))`;
/** What may be in a path. `**` and `~~` end emphasis. */
const PIECES = [
  nested('\\[', '\\]'),
  nested('\\(', '\\)'),
  nested('\\{', '\\}'),
  `"(?:(?!${SPACE}|").){1,100}"`,
  `'(?:(?!${SPACE}|').){1,100}'`,
  `'(?=${LETTER}|-)`,
  '[*~](?![*~])',
  String.raw`[-\\/:%@#&=_.,;!?]`,
  LETTER,
];
const PATH = `(?:[/?#](?:${PIECES.join('|')}){1,10000}|/)?`;
/** At most 65535. */
const PORT = String.raw`(?::(?:6(?:[0-4]\d{3}|5(?:[0-4]\d{2}|5(?:[0-2]\d|3[0-5])))|[1-5]?\d{1,4}))?`;
const WEB = `https?://${HOST}${PORT}${HOST_END}${PATH}`;
const NAME = "[-!#$%&'*+/=?^_`{|}~a-z0-9](?:[-!#$%&'*+/=?^_`{|}~a-z0-9]|\\.(?=[^.@])){0,63}";
const MAIL = `mailto:${NAME}@${HOST}${HOST_END}`;
const ADDRESS = new RegExp(`(?<=^|(?!_)${BREAK})(?:${WEB}|${MAIL})`, 'giu');
const SCHEME = /https?:|mailto:/i;
const WEB_AT_START = new RegExp(`^${WEB}`, 'iu');
/** Marks that end a sentence or emphasis: they are not the end of an address. */
const MARKS = /(?<![.,:;!?*_~])[.,:;!?*_~]+$/;

/**
 * Text between brackets, and brackets in it, up to four deep.
 * @param {string} open @param {string} close
 */
function nested(open, close) {
  const atom = `(?:(?!${SPACE}|${open}|${close}).)`;
  let pair = `${open}${atom}{0,1000}${close}`;
  for (let depth = 1; depth < 4; depth++) pair = `${open}(?:${atom}|${pair}){0,1000}${close}`;
  return pair;
}

/** What the rules of markdown-it need of a linkifier. */
export const addresses = {
  /** @param {string} text */
  test(text) {
    // Most texts have none, and this is found much faster.
    return SCHEME.test(text) && text.search(ADDRESS) >= 0;
  },
  /** @param {string} text */
  match(text) {
    return Array.from(text.matchAll(ADDRESS), ({ 0: found, index }) => {
      const url = found.replace(MARKS, '');
      return { url, text: url, schema: 'any', index, lastIndex: index + url.length };
    });
  },
  /** @param {string} text */
  matchAtStart(text) {
    const found = WEB_AT_START.exec(text);
    return found && { url: found[0].replace(MARKS, '') };
  },
};
