const canonicalUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isUuid(text: string): boolean {
  return canonicalUuid.test(text);
}

export const badRequest = `{"Error":"Bad Request","Message":"Bad Request","Status":400}`;
const issues = "We are experiencing some techincal issues right now. Please try again after some time!";
export const technicalIssues = `{"Error":"${issues}","Message":"${issues}","Status":500}`;
