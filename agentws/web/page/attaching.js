/**
 * The files of the next message: chosen, dropped on the page, pasted or photographed. Each is uploaded at once, and
 * listed in the message box until the message is sent.
 *
 * @module
 */
import { el, icon, setText } from './dom.js';
import { sizeText } from './parts.js';

/**
 * @typedef {import('../client.js').AttachedFile} AttachedFile
 * @typedef {import('../client.js').UploadOptions} UploadOptions
 * @typedef {object} Elements
 * @property {HTMLElement} list
 * @property {HTMLButtonElement} attach
 * @property {HTMLButtonElement} photograph
 * @property {HTMLInputElement} picker
 * @property {HTMLInputElement} camera
 * @property {HTMLElement} input
 * @property {HTMLElement} drop shown while files are dragged over the page
 *
 * @typedef {object} Actions
 * @property {(file: File, options: UploadOptions) => Promise<AttachedFile>} upload
 * @property {(id: string) => void} forget deletes a file that was uploaded here and is not sent
 * @property {() => void} changed
 * @property {(sentence: string) => void} tell
 */

/**
 * The `accept` of a file input; empty for every type.
 * @param {readonly string[]} types
 */
export function accepted(types) {
  return types.includes('*/*') ? '' : types.join(',');
}

/** @param {readonly string[]} types */
function acceptsImages(types) {
  return types.some((type) => type === '*/*' || type.startsWith('image/'));
}

export class Attaching {
  #elements;
  #actions;
  /** @type {Set<Chip>} */
  #chips = new Set();
  /** @type {import('../client.js').Limits | null} */
  #limits = null;

  /** @param {Elements} elements @param {Actions} actions */
  constructor(elements, actions) {
    this.#elements = elements;
    this.#actions = actions;
    const { attach, photograph, picker, camera, input } = elements;
    for (const [button, chooser] of /** @type {const} */ ([
      [attach, picker],
      [photograph, camera],
    ])) {
      button.addEventListener('click', () => chooser.click());
      chooser.addEventListener('change', () => {
        this.#add([...(chooser.files ?? [])]);
        // The same file can be chosen again.
        chooser.value = '';
        input.focus();
      });
    }
    input.addEventListener('paste', (event) => this.#paste(event));
    for (const name of /** @type {const} */ (['dragenter', 'dragover', 'dragleave', 'drop']))
      document.addEventListener(name, (event) => this.#drag(event));
  }

  /** @returns {'none' | 'ready' | 'busy' | 'failed'} whether the files can be sent */
  get state() {
    const chips = [...this.#chips];
    if (chips.length === 0) return 'none';
    if (chips.some(({ failed }) => failed)) return 'failed';
    return chips.every(({ uploaded }) => uploaded) ? 'ready' : 'busy';
  }

  /** @param {import('../client.js').ChatSnapshot} snapshot */
  update({ limits }) {
    if (limits === null || limits === this.#limits) return;
    this.#limits = limits;
    const { attach, photograph, picker } = this.#elements;
    const types = limits.fileTypes ?? [];
    attach.hidden = !this.#takesFiles;
    // Where it makes sense is up to the style sheet.
    photograph.hidden = !this.#takesFiles || !acceptsImages(types);
    picker.accept = accepted(types);
  }

  /** @returns {AttachedFile[]} the files for a message that is sent now; the list is empty then */
  take() {
    const files = [...this.#chips].flatMap(({ uploaded }) => uploaded ?? []);
    this.clear();
    return files;
  }

  /** Lists files again that were uploaded. @param {readonly AttachedFile[]} files */
  restore(files) {
    for (const file of files) this.#show(new Chip(file, (chip) => this.#remove(chip))).done(file);
    this.#changed();
  }

  clear() {
    for (const chip of this.#chips) this.#remove(chip);
  }

  get #takesFiles() {
    return this.#limits?.maxFileSize !== undefined;
  }

  /** @param {File[]} files */
  #add(files) {
    const most = this.#limits?.maxFilesPerMessage ?? Infinity;
    const room = Math.max(most - this.#chips.size, 0);
    for (const file of files.slice(0, room)) {
      const chip = this.#show(new Chip(file, (one) => this.#takeBack(one)));
      chip.begin(
        (options) => this.#actions.upload(file, options),
        () => this.#changed(),
      );
    }
    this.#changed();
    if (files.length > room) this.#actions.tell(`A message has at most ${most} files.`);
  }

  /** @param {Chip} chip */
  #show(chip) {
    this.#chips.add(chip);
    this.#elements.list.append(chip.element);
    return chip;
  }

  /** Another message may use a file that was restored, but none uses one that is new here. @param {Chip} chip */
  #takeBack(chip) {
    this.#remove(chip);
    if (chip.uploaded) this.#actions.forget(chip.uploaded.id);
  }

  /** @param {Chip} chip */
  #remove(chip) {
    const hadFocus = chip.element.contains(document.activeElement);
    this.#chips.delete(chip);
    chip.end();
    if (hadFocus) this.#elements.input.focus();
    this.#changed();
  }

  #changed() {
    this.#elements.list.hidden = this.#chips.size === 0;
    this.#actions.changed();
  }

  /**
   * Text is pasted as text, also where an image of it is beside it. Beside the files that a file manager copies are
   * their names.
   *
   * @param {ClipboardEvent} event
   */
  #paste(event) {
    const data = event.clipboardData;
    const files = [...(data?.files ?? [])];
    const text = data?.getData('text');
    const isText = text && !files.every(({ name }) => text.includes(name));
    if (!this.#takesFiles || files.length === 0 || isText) return;
    event.preventDefault();
    this.#add(files);
  }

  /** @param {DragEvent} event */
  #drag(event) {
    const { dataTransfer, type, relatedTarget } = event;
    if (!dataTransfer?.types.includes('Files')) return;
    // Else the browser would leave the page and open the file.
    event.preventDefault();
    if (!this.#takesFiles) dataTransfer.dropEffect = 'none';
    const left = type === 'drop' || (type === 'dragleave' && relatedTarget === null);
    if (type !== 'dragleave' || left) this.#elements.drop.hidden = left || !this.#takesFiles;
    if (type === 'drop' && this.#takesFiles) this.#dropped(dataTransfer);
  }

  /** @param {DataTransfer} transfer */
  #dropped({ files, items }) {
    const isFolder = [...items].map((item) => item.webkitGetAsEntry?.()?.isDirectory === true);
    this.#add([...files].filter((_, index) => !isFolder[index]));
    if (isFolder.includes(true)) this.#actions.tell('A folder can\u2019t be attached.');
    this.#elements.input.focus();
  }
}

/** One file in the list: it is uploaded, or is being uploaded, or could not be. */
class Chip {
  /** @type {AttachedFile | null} */
  uploaded = null;
  failed = false;
  #aborter = new AbortController();
  #picture = el('span', { class: 'chip-picture' }, icon('file'));
  #about = el('span', { class: 'chip-about', role: 'status', dir: 'auto' });
  #progress = el('progress', { max: 1, value: 0, hidden: true });
  #again = el('button', { type: 'button', class: 'link', hidden: true }, 'Try again');
  #close;
  #address = '';
  element;

  /** @param {{name: string, size: number, type: string}} file @param {(chip: Chip) => void} remove */
  constructor(file, remove) {
    const label = `Remove ${file.name}`;
    if (file instanceof File && file.type.startsWith('image/')) this.#preview(file);
    this.#progress.setAttribute('aria-label', `Upload of ${file.name}`);
    setText(this.#about, sizeText(file.size));
    this.#close = el(
      'button',
      {
        type: 'button',
        class: 'copy',
        'aria-label': label,
        title: label,
        click: () => remove(this),
      },
      icon('close'),
    );
    this.element = el(
      'li',
      { class: 'chip' },
      this.#picture,
      el(
        'span',
        { class: 'chip-text' },
        el('span', { class: 'chip-name', dir: 'auto', title: file.name }, file.name),
        this.#about,
        this.#progress,
      ),
      this.#again,
      this.#close,
    );
  }

  /**
   * @param {(options: UploadOptions) => Promise<AttachedFile>} upload
   * @param {() => void} changed
   */
  begin(upload, changed) {
    const start = async () => {
      if (document.activeElement === this.#again) this.#close.focus();
      this.#set(false, '');
      this.#progress.hidden = false;
      try {
        this.done(await upload({ onProgress: this.#onProgress, signal: this.#aborter.signal }));
      } catch (error) {
        this.#fail(/** @type {any} */ (error));
      }
      this.#progress.hidden = true;
      changed();
    };
    this.#again.addEventListener('click', () => {
      void start();
      changed();
    });
    void start();
  }

  /** @param {AttachedFile} file */
  done(file) {
    this.uploaded = file;
    setText(this.#about, sizeText(file.size));
  }

  /** Stops the upload and removes the file from the list. */
  end() {
    this.#aborter.abort();
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.element.remove();
  }

  #onProgress = (/** @type {number} */ sent, /** @type {number} */ size) => {
    this.#progress.value = size > 0 ? sent / size : 1;
  };

  /** @param {import('../client.js').ChatError} error */
  #fail({ message, retryable = false }) {
    this.#set(true, message);
    this.#again.hidden = !retryable;
  }

  /** @param {boolean} failed @param {string} about */
  #set(failed, about) {
    this.failed = failed;
    this.#again.hidden = true;
    this.element.classList.toggle('is-failed', failed);
    setText(this.#about, about);
  }

  /** @param {File} file */
  #preview(file) {
    this.#address = URL.createObjectURL(file);
    const image = el('img', { src: this.#address, alt: '' });
    image.addEventListener('error', () => image.replaceWith(icon('file')));
    this.#picture.replaceChildren(image);
  }
}
