package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	upstreamv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/upstreamauthority/v1"
	"github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// upstream is a root of its own, made at its start and gone at its end.
type upstream struct {
	upstreamv1.UnimplementedUpstreamAuthorityServer
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newUpstream() (*upstream, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := authority(pkix.Name{CommonName: "root of a plugin"}, 365*24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(der)
	return &upstream{key: key, root: root}, err
}

func authority(subject pkix.Name, ttl time.Duration) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject,
		NotBefore:             now.Add(-10 * time.Second),
		NotAfter:              now.Add(ttl),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func (p *upstream) MintX509CAAndSubscribe(req *upstreamv1.MintX509CARequest, stream upstreamv1.UpstreamAuthority_MintX509CAAndSubscribeServer) error {
	csr, err := x509.ParseCertificateRequest(req.Csr)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "unable to parse CSR: %v", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return status.Errorf(codes.InvalidArgument, "unable to check CSR signature: %v", err)
	}
	template := authority(csr.Subject, time.Duration(req.PreferredTtl)*time.Second)
	template.URIs = csr.URIs
	der, err := x509.CreateCertificate(rand.Reader, template, p.root, csr.PublicKey, p.key)
	if err != nil {
		return status.Errorf(codes.Internal, "unable to sign: %v", err)
	}
	answer := &upstreamv1.MintX509CAResponse{
		X509CaChain:       []*types.X509Certificate{{Asn1: der}},
		UpstreamX509Roots: []*types.X509Certificate{{Asn1: p.root.Raw}},
	}
	if err := stream.Send(answer); err != nil {
		return err
	}
	// The root never changes, but whoever subscribed stays so.
	<-stream.Context().Done()
	return nil
}
