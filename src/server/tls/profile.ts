import type { SecureContextOptions } from "node:tls";

/**
 * The versions, cipher suites and groups of TLS that are served: Mozilla's "intermediate" profile (Server Side TLS, 5.7), and
 * the hybrid group X25519MLKEM768 in front of its groups. OpenSSL's defaults add CBC suites, which HTTP/2 forbids (RFC 9113,
 * appendix A), ARIA, CCM, X448 and P-521. The profile's DHE suites are left out: they need parameters of their own, and no
 * client that speaks HTTP/2 lacks ECDHE.
 */
export const tlsProfile = {
  minVersion: "TLSv1.2",
  ciphers: [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
  ].join(":"),
  ecdhCurve: "X25519MLKEM768:X25519:P-256:P-384",
  // All suites are secure, and the client knows which is fastest on its machine.
  honorCipherOrder: false,
} as const satisfies SecureContextOptions;
