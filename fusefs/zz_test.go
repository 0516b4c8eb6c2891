package fusefs
import ("testing";"os/exec";"path/filepath")
func BenchmarkWhole(b *testing.B) {
	f := &fake{dir: b.TempDir()}
	mnt, _ := testMount(b, f, throughDaemon)
	write(b, f.abs("f"), string(make([]byte, 512<<20)))
	for _, bs := range []string{"1M","128K"} { for _, fl := range []string{"fullblock","direct"} {
	b.Run(bs+fl, func(b *testing.B){
	b.SetBytes(512<<20)
	for b.Loop() { if err := exec.Command("dd","if="+filepath.Join(mnt,"f"),"of=/dev/null","bs="+bs,"iflag="+fl).Run(); err!=nil {b.Fatal(err)} }
	})}}
}
