// Workloads that speak to Conclave's agent through go-spiffe, as services in Go do.
//
//	interop fetch                      every call of the Workload API once, and what comes back must verify
//	interop serve ADDRESS_FILE CLIENT  mutual TLS server; admits CLIENT alone; runs until its input ends
//	interop call ADDRESS_FILE SERVER N mutual TLS client; new connection each time, until both sides have shown N+1 certificates
//	interop bundle URL ID              the bundle of another trust domain, from the endpoint with that id
//	interop outsider ADDRESS_FILE      a workload without an entry: refused by the agent, and by the server
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	switch {
	case len(args) == 1 && args[0] == "fetch":
		return fetch(ctx)
	case len(args) == 3 && args[0] == "serve":
		return serve(ctx, args[1], args[2])
	case len(args) == 4 && args[0] == "call":
		rotations, err := strconv.Atoi(args[3])
		if err != nil {
			return err
		}
		return call(ctx, args[1], args[2], rotations)
	case len(args) == 3 && args[0] == "bundle":
		return bundle(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "outsider":
		return outsider(ctx, args[1])
	}
	return fmt.Errorf("usage: see the head of main.go")
}

func fetch(ctx context.Context) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	x509Context, err := client.FetchX509Context(ctx)
	if err != nil {
		return fmt.Errorf("fetching the X.509 context: %w", err)
	}
	svid := x509Context.DefaultSVID()
	if _, _, err := x509svid.Verify(svid.Certificates, x509Context.Bundles); err != nil {
		return fmt.Errorf("verifying the X509-SVID: %w", err)
	}
	bundles, err := client.FetchX509Bundles(ctx)
	if err != nil || !bundles.Has(svid.ID.TrustDomain()) {
		return fmt.Errorf("X.509 bundles without %s: %v", svid.ID.TrustDomain(), err)
	}
	token, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "audience", ExtraAudiences: []string{"second"}})
	if err != nil {
		return fmt.Errorf("fetching a JWT-SVID: %w", err)
	}
	jwtBundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return fmt.Errorf("fetching JWT bundles: %w", err)
	}
	if _, err := jwtsvid.ParseAndValidate(token.Marshal(), jwtBundles, []string{"second"}); err != nil {
		return fmt.Errorf("validating the JWT-SVID here: %w", err)
	}
	validated, err := client.ValidateJWTSVID(ctx, token.Marshal(), "audience")
	if err != nil || validated.ID != svid.ID {
		return fmt.Errorf("validating the JWT-SVID at the agent: %v", err)
	}
	if _, err := client.ValidateJWTSVID(ctx, token.Marshal(), "nobody"); err == nil {
		return fmt.Errorf("the agent took a JWT-SVID for another audience")
	}
	fmt.Println("go-spiffe:", svid.ID, "X.509 and JWT fetched and verified")
	return nil
}

func source(ctx context.Context) (*workloadapi.X509Source, error) {
	started, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return workloadapi.NewX509Source(started)
}

func serve(ctx context.Context, addressFile, client string) error {
	x509Source, err := source(ctx)
	if err != nil {
		return err
	}
	defer x509Source.Close()
	admitted, err := spiffeid.FromString(client)
	if err != nil {
		return err
	}
	config := tlsconfig.MTLSServerConfig(x509Source, x509Source, tlsconfig.AuthorizeID(admitted))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return err
	}
	if err := publish(addressFile, listener.Addr().String()); err != nil {
		return err
	}
	go func() { // the driver closes our input when it is done
		_, _ = io.Copy(io.Discard, os.Stdin)
		listener.Close()
	}()
	for {
		connection, err := listener.Accept()
		if err != nil {
			return nil
		}
		go func() {
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
			line, err := bufio.NewReader(connection).ReadString('\n')
			if err == nil {
				_, _ = io.WriteString(connection, line)
			}
		}()
	}
}

// publish renames the file into place, so that a reader never sees half an address.
func publish(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func call(ctx context.Context, addressFile, server string, rotations int) error {
	x509Source, err := source(ctx)
	if err != nil {
		return err
	}
	defer x509Source.Close()
	expected, err := spiffeid.FromString(server)
	if err != nil {
		return err
	}
	address, err := os.ReadFile(addressFile)
	if err != nil {
		return err
	}
	var theirs, ours = map[string]bool{}, map[string]bool{}
	handshakes := 0
	for len(theirs) <= rotations || len(ours) <= rotations {
		svid, err := x509Source.GetX509SVID()
		if err != nil {
			return err
		}
		ours[svid.Certificates[0].SerialNumber.String()] = true
		peer, err := exchange(string(address), tlsconfig.MTLSClientConfig(x509Source, x509Source, tlsconfig.AuthorizeID(expected)))
		if err != nil {
			return fmt.Errorf("handshake %d: %w", handshakes, err)
		}
		theirs[peer.SerialNumber.String()] = true
		handshakes++
		select {
		case <-ctx.Done():
			return fmt.Errorf("saw only %d and %d certificates in %d handshakes", len(ours), len(theirs), handshakes)
		case <-time.After(50 * time.Millisecond):
		}
	}
	fmt.Printf("go-spiffe: %d handshakes, 0 failed, across %d and %d certificates\n", handshakes, len(ours), len(theirs))
	return nil
}

func exchange(address string, config *tls.Config) (*x509.Certificate, error) {
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, config)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(connection, "ping\n"); err != nil {
		return nil, err
	}
	// Under TLS 1.3 a refused client certificate shows at the first read, not in the handshake.
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil || line != "ping\n" {
		return nil, fmt.Errorf("no echo: %q %w", line, err)
	}
	return connection.ConnectionState().PeerCertificates[0], nil
}

func bundle(ctx context.Context, url, endpoint string) error {
	x509Source, err := source(ctx)
	if err != nil {
		return err
	}
	defer x509Source.Close()
	endpointID, err := spiffeid.FromString(endpoint)
	if err != nil {
		return err
	}
	trustDomain := endpointID.TrustDomain()
	fetched, err := federation.FetchBundle(ctx, trustDomain, url, federation.WithSPIFFEAuth(x509Source, endpointID))
	if err != nil {
		return fmt.Errorf("fetching the bundle of %s: %w", trustDomain, err)
	}
	held, err := x509Source.GetX509BundleForTrustDomain(trustDomain)
	if err != nil || !held.Equal(fetched.X509Bundle()) {
		return fmt.Errorf("the endpoint has another bundle than the Workload API: %v", err)
	}
	hint, hasHint := fetched.RefreshHint()
	if _, hasSequence := fetched.SequenceNumber(); !hasHint || !hasSequence {
		return fmt.Errorf("the bundle has no refresh hint or no sequence number")
	}
	fmt.Printf("go-spiffe: bundle of %s from its endpoint, %d roots, to be refreshed in %s\n",
		trustDomain, len(fetched.X509Authorities()), hint)
	return nil
}

func outsider(ctx context.Context, addressFile string) error {
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := workloadapi.FetchX509SVID(short)
	if err == nil || !strings.Contains(err.Error(), "no identity issued") {
		return fmt.Errorf("a workload without an entry was answered: %v", err)
	}
	address, err := os.ReadFile(addressFile)
	if err != nil {
		return err
	}
	if _, err := exchange(string(address), &tls.Config{InsecureSkipVerify: true}); err == nil {
		return fmt.Errorf("the server talked to a client without a certificate")
	}
	fmt.Println("go-spiffe: the workload without an entry is refused by agent and server")
	return nil
}
