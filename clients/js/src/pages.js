/**
 * A list of the API that is read page by page as it is walked through.
 *
 *     for await (const delivery of client.listDeliveries({ status: 'dead_lettered' })) …
 */
export class Pages {
  #load;

  /** `load` gets the place to go on at (nothing for the first page) and answers `{ items, next }`. */
  constructor(load) {
    this.#load = load;
  }

  /** Page by page. */
  async *pages() {
    let place;
    do {
      const { items, next } = await this.#load(place);
      yield items;
      place = next;
    } while (place != null);
  }

  /** Item by item. */
  async *[Symbol.asyncIterator]() {
    for await (const page of this.pages()) yield* page;
  }

  /** The first `max` items. */
  async take(max) {
    const items = [];
    if (max <= 0) return items;
    for await (const item of this) if (items.push(item) >= max) break;
    return items;
  }
}
