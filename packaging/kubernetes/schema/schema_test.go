// Package schema holds the manifests beside it to the types of Kubernetes and of KubeRay: a
// field that there is not, or of another type, is an error. It is a module of its own, since
// trainfs needs none of theirs.
package schema

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	ray "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var kinds = map[string]func() any{
	"v1/ConfigMap":         func() any { return new(core.ConfigMap) },
	"v1/Pod":               func() any { return new(core.Pod) },
	"apps/v1/DaemonSet":    func() any { return new(apps.DaemonSet) },
	"ray.io/v1/RayCluster": func() any { return new(ray.RayCluster) },
}

// decode reads one document as the kind that it says it is.
func decode(document []byte) (any, error) {
	var t meta.TypeMeta
	if err := yaml.Unmarshal(document, &t); err != nil {
		return nil, err
	}
	make, ok := kinds[t.APIVersion+"/"+t.Kind]
	if !ok {
		return nil, os.ErrInvalid
	}
	object := make()
	return object, yaml.UnmarshalStrict(document, object)
}

func TestManifestsHoldToTheSchema(t *testing.T) {
	files, err := filepath.Glob("../*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d manifests, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			object, err := decode(document)
			if err != nil {
				t.Errorf("%s: %v\n%s", file, err, document)
			}
			if d, ok := object.(*apps.DaemonSet); ok {
				checkMount(t, file, d.Spec.Template.Spec.Containers[0])
			}
			if p, ok := object.(*core.Pod); ok {
				checkMount(t, file, p.Spec.InitContainers[0])
			}
		}
	}
}

// checkMount: what the schema allows, and yet no mount would come out of the container.
func checkMount(t *testing.T, file string, c core.Container) {
	if c.SecurityContext == nil || c.SecurityContext.Privileged == nil || !*c.SecurityContext.Privileged {
		t.Errorf("%s: %s is not privileged", file, c.Name)
	}
	for _, v := range c.VolumeMounts {
		if v.MountPropagation != nil && *v.MountPropagation == core.MountPropagationBidirectional {
			return
		}
	}
	t.Errorf("%s: no volume of %s propagates to the node", file, c.Name)
}

func TestUnknownFieldsAreErrors(t *testing.T) {
	if _, err := decode([]byte("apiVersion: v1\nkind: Pod\nspec: {containerz: []}")); err == nil {
		t.Error("containerz was taken")
	}
}
