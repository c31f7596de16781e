import { expect, test } from "vitest";
import { LinkedList } from "../../src/status/linked-list.ts";

test("values stay in order of insertion, whichever is removed", () => {
  for (let removed = 0; removed < 3; removed++) {
    const list = new LinkedList<number>();
    const links = [0, 1, 2].map((value) => list.add(value));
    links[removed]?.remove();
    links[removed]?.remove();
    const left = [0, 1, 2].filter((value) => value !== removed);
    expect(list.toArray()).toEqual(left);
    expect(list.size).toBe(2);
    expect(list.oldest?.value).toBe(left[0]);
    list.add(3);
    expect(list.toArray()).toEqual([...left, 3]);
  }
});

test("a link that was removed refers to no other", () => {
  const list = new LinkedList<number>();
  const links = [0, 1, 2].map((value) => list.add(value));
  for (const link of links) link.remove();
  expect(links.map(({ previous, next, list: of }) => [previous, next, of])).toEqual(
    Array(3).fill([undefined, undefined, undefined]),
  );
  expect([list.size, list.oldest]).toEqual([0, undefined]);
});
