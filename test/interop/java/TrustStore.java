import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;

/** Writes the machine's CA certificates into a key store for a JDK. */
class TrustStore {
  public static void main(String[] args) throws Exception {
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, null);
    int number = 0;
    try (var in = new FileInputStream("/etc/ssl/certs/ca-certificates.crt")) {
      for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
        store.setCertificateEntry("ca-" + number++, certificate);
      }
    }
    try (var out = new FileOutputStream(args[0])) {
      store.store(out, "changeit".toCharArray());
    }
  }
}
