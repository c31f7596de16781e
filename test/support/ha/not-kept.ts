/** How the line of a service's log begins that reports that a prepared statement was not kept. */
export const notKeptMessage = "a prepared statement was not kept: ";
