/** A statement was cancelled before it had a connection: that tells nothing about the database. */
export class NotSent extends Error {
  override readonly name = "NotSent";

  constructor() {
    super("the statement was cancelled before it was sent");
  }
}
