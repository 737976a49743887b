// Plugins made with SPIRE's public plugin SDK, to be run by Conclave as SPIRE runs them.
//
//	plugin server-node   finds out which host an agent is on: who knows the secret is the host that it claims to be
//	plugin agent-node    proves it
//	plugin upstream      signs intermediates with a root that it makes
//	plugin workload      tells the path of a workload's program
package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/hcl"
	"github.com/spiffe/spire-plugin-sdk/pluginmain"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	agentstorev1 "github.com/spiffe/spire-plugin-sdk/proto/spire/hostservice/server/agentstore/v1"
	agentnodev1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/nodeattestor/v1"
	workloadv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/workloadattestor/v1"
	servernodev1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/nodeattestor/v1"
	upstreamv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/upstreamauthority/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func main() {
	kind := ""
	if len(os.Args) == 2 {
		kind = os.Args[1]
	}
	switch kind {
	case "server-node":
		plugin := new(serverNode)
		pluginmain.Serve(servernodev1.NodeAttestorPluginServer(plugin), configv1.ConfigServiceServer(plugin))
	case "agent-node":
		plugin := new(agentNode)
		pluginmain.Serve(agentnodev1.NodeAttestorPluginServer(plugin), configv1.ConfigServiceServer(plugin))
	case "upstream":
		plugin, err := newUpstream()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		pluginmain.Serve(upstreamv1.UpstreamAuthorityPluginServer(plugin))
	case "workload":
		pluginmain.Serve(workloadv1.WorkloadAttestorPluginServer(new(workload)))
	default:
		fmt.Fprintln(os.Stderr, "usage: see the head of main.go")
		os.Exit(2)
	}
}

// settings of both sides.
type settings struct {
	Secret  string              `hcl:"secret"`
	Allowed map[string][]string `hcl:"allowed"`
	Host    string              `hcl:"host"`
}

// configured is the part of a plugin that takes its settings.
type configured struct {
	configv1.UnimplementedConfigServer
	mutex       sync.RWMutex
	settings    *settings
	trustDomain string
}

func (c *configured) Configure(_ context.Context, req *configv1.ConfigureRequest) (*configv1.ConfigureResponse, error) {
	taken := new(settings)
	if err := hcl.Decode(taken, req.HclConfiguration); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "failed to decode configuration: %v", err)
	}
	if taken.Secret == "" {
		return nil, status.Error(codes.InvalidArgument, "secret must be configured")
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.settings, c.trustDomain = taken, req.CoreConfiguration.TrustDomain
	return &configv1.ConfigureResponse{}, nil
}

func (c *configured) get() (*settings, string, error) {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	if c.settings == nil {
		return nil, "", status.Error(codes.FailedPrecondition, "not configured")
	}
	return c.settings, c.trustDomain, nil
}

func proof(secret string, nonce []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(nonce)
	return mac.Sum(nil)
}

type serverNode struct {
	servernodev1.UnimplementedNodeAttestorServer
	configured
	log    hclog.Logger
	agents agentstorev1.AgentStoreServiceClient
}

func (p *serverNode) SetLogger(log hclog.Logger) { p.log = log }

func (p *serverNode) BrokerHostServices(broker pluginsdk.ServiceBroker) error {
	if !broker.BrokerClient(&p.agents) {
		return status.Error(codes.FailedPrecondition, "host offers no agent store")
	}
	return nil
}

func (p *serverNode) Attest(stream servernodev1.NodeAttestor_AttestServer) error {
	settings, trustDomain, err := p.get()
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	host := string(first.GetPayload())
	labels, allowed := settings.Allowed[host]
	if !allowed {
		return status.Errorf(codes.PermissionDenied, "host %q is not allowed", host)
	}
	nonce := make([]byte, 32)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	challenge := &servernodev1.AttestResponse{Response: &servernodev1.AttestResponse_Challenge{Challenge: nonce}}
	if err := stream.Send(challenge); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err != nil {
		return err
	}
	if !hmac.Equal(answer.GetChallengeResponse(), proof(settings.Secret, nonce)) {
		return status.Error(codes.PermissionDenied, "wrong answer")
	}
	id := fmt.Sprintf("spiffe://%s/spire/agent/gonode/%s", trustDomain, host)
	_, err = p.agents.GetAgentInfo(stream.Context(), &agentstorev1.GetAgentInfoRequest{AgentId: id})
	p.log.Info("Host attested", "host", host, "known", err == nil, "code", status.Code(err).String())
	return stream.Send(&servernodev1.AttestResponse{
		Response: &servernodev1.AttestResponse_AgentAttributes{
			AgentAttributes: &servernodev1.AgentAttributes{SpiffeId: id, SelectorValues: labels, CanReattest: true},
		},
	})
}

type agentNode struct {
	agentnodev1.UnimplementedNodeAttestorServer
	configured
}

func (p *agentNode) AidAttestation(stream agentnodev1.NodeAttestor_AidAttestationServer) error {
	settings, _, err := p.get()
	if err != nil {
		return err
	}
	payload := &agentnodev1.PayloadOrChallengeResponse{
		Data: &agentnodev1.PayloadOrChallengeResponse_Payload{Payload: []byte(settings.Host)},
	}
	if err := stream.Send(payload); err != nil {
		return err
	}
	challenge, err := stream.Recv()
	if err != nil {
		return err
	}
	return stream.Send(&agentnodev1.PayloadOrChallengeResponse{
		Data: &agentnodev1.PayloadOrChallengeResponse_ChallengeResponse{
			ChallengeResponse: proof(settings.Secret, challenge.Challenge),
		},
	})
}

type workload struct {
	workloadv1.UnimplementedWorkloadAttestorServer
}

func (*workload) Attest(_ context.Context, req *workloadv1.AttestRequest) (*workloadv1.AttestResponse, error) {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", req.Pid))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to read the program's path: %v", err)
	}
	// Seen by the host, which logs what plugins print.
	fmt.Println("attested", path)
	return &workloadv1.AttestResponse{SelectorValues: []string{"exe:" + path}}, nil
}
