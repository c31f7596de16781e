/** The service cannot work with the database's schema; the message says what to do. */
export class SchemaError extends Error {
  override readonly name = "SchemaError";
}
