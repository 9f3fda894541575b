// Verifies a published log with Go's golang.org/x/mod/sumdb/note and tlog, which know nothing of jattr.
//
//	verify_log FOLDER
//
// FOLDER has `public` (the log as tlog-tiles lays it out), `log` and `witness` (public keys), `key` (the log's private
// key, of a test), `receipts` (NAME.tlog-proof) and `consistency` (files named by the old size: root, then the proof,
// in base64 lines). Prints what was checked; exits with 1 at the first thing that is wrong.
package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height, width = 8, 256

// tiles reads tiles of hashes: x/mod puts the height into the path, tlog-tiles does not.
type tiles string

func (folder tiles) Height() int { return height }

func (folder tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (folder tiles) ReadTiles(wanted []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data = append(data, read(string(folder), path))
	}
	return data, nil
}

// cosigner verifies timestamped Ed25519 cosignatures, which x/mod does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(signature), text)
	return ed25519.Verify(c.key, []byte(message), signature[8:])
}

func main() {
	log.SetFlags(0)
	folder := os.Args[1]
	public := filepath.Join(folder, "public")
	checkpoint := read(public, "checkpoint")
	keys := note.VerifierList(logKey(folder), witnessKey(folder))
	tree := open(checkpoint, keys)
	signAgain(folder, checkpoint)

	reader := tlog.TileHashReader(tree, tiles(public))
	entries := checkEntries(public, tree, reader)
	receipts := checkReceipts(folder, tree, keys, entries, reader)
	proofs := checkConsistency(folder, tree, reader)
	fmt.Printf("%d entries, %d receipts, %d consistency proofs\n", len(entries), receipts, proofs)
}

// open returns the tree of a checkpoint that the log and the witness have signed.
func open(checkpoint []byte, keys note.Verifiers) tlog.Tree {
	opened, err := note.Open(checkpoint, keys)
	check(err)
	if len(opened.Sigs) != 2 {
		log.Fatalf("%d signatures of known keys, not 2", len(opened.Sigs))
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(lines[2])
	check(err)
	return tlog.Tree{N: size, Hash: root}
}

// signAgain signs the text with the log's key: Ed25519 has one signature only, so the line must be the same.
func signAgain(folder string, checkpoint []byte) {
	signer, err := note.NewSigner(strings.TrimSpace(string(read(folder, "key"))))
	check(err)
	text, _, _ := bytes.Cut(checkpoint, []byte("\n\n"))
	signed, err := note.Sign(&note.Note{Text: string(text) + "\n"}, signer)
	check(err)
	if !bytes.HasPrefix(checkpoint, signed) {
		log.Fatalf("Go signs otherwise: %q, not %q", signed, checkpoint)
	}
}

// checkEntries computes the root over all entries, and compares each with its tile, which Go ties to the root.
func checkEntries(public string, tree tlog.Tree, reader tlog.HashReader) (entries [][]byte) {
	var stored []tlog.Hash
	own := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, err error) {
		for _, index := range indexes {
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	for start := int64(0); start < tree.N; start += width {
		count := min(width, tree.N-start)
		bundle := tlog.Tile{H: height, L: -1, N: start / width, W: int(count)}
		data := read(public, strings.Replace(bundle.Path(), "tile/8/data/", "tile/entries/", 1))
		var indexes []int64
		for index := start; index < start+count; index++ {
			end := 2 + int(binary.BigEndian.Uint16(data))
			entry := data[2:end]
			data = data[end:]
			hashes, err := tlog.StoredHashes(index, entry, own)
			check(err)
			stored = append(stored, hashes...)
			entries = append(entries, entry)
			indexes = append(indexes, tlog.StoredHashIndex(0, index))
		}
		if len(data) > 0 {
			log.Fatalf("bundle %d has bytes left over", bundle.N)
		}
		hashes, err := reader.ReadHashes(indexes)
		check(err)
		for place, hash := range hashes {
			if hash != tlog.RecordHash(entries[start+int64(place)]) {
				log.Fatalf("entry %d is not the one in its tile", start+int64(place))
			}
		}
	}
	root, err := tlog.TreeHash(tree.N, own)
	check(err)
	if root != tree.Hash {
		log.Fatalf("the root over all entries is %v, not %v", root, tree.Hash)
	}
	return entries
}

func checkReceipts(folder string, tree tlog.Tree, keys note.Verifiers, entries [][]byte, reader tlog.HashReader) int {
	paths, err := filepath.Glob(filepath.Join(folder, "receipts", "*.tlog-proof"))
	check(err)
	for _, path := range paths {
		proof, checkpoint, _ := strings.Cut(string(read(path)), "\n\n")
		lines := strings.Split(proof, "\n")
		if lines[0] != "c2sp.org/tlog-proof@v1" || open([]byte(checkpoint), keys) != tree {
			log.Fatalf("%s is no receipt of this checkpoint", path)
		}
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
		check(err)
		hashes := decode(lines[2:])
		check(tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash(entries[index])))
		own, err := tlog.ProveRecord(tree.N, index, reader)
		check(err)
		same(path, hashes, own)
	}
	return len(paths)
}

func checkConsistency(folder string, tree tlog.Tree, reader tlog.HashReader) int {
	paths, err := filepath.Glob(filepath.Join(folder, "consistency", "*"))
	check(err)
	for _, path := range paths {
		old, err := strconv.ParseInt(filepath.Base(path), 10, 64)
		check(err)
		hashes := decode(strings.Split(strings.TrimSuffix(string(read(path)), "\n"), "\n"))
		check(tlog.CheckTree(hashes[1:], tree.N, tree.Hash, old, hashes[0]))
		own, err := tlog.ProveTree(tree.N, old, reader)
		check(err)
		same(path, hashes[1:], own)
	}
	return len(paths)
}

func same(path string, hashes, own []tlog.Hash) {
	if len(hashes) != len(own) {
		log.Fatalf("%s: Go proves with %d hashes, not %d", path, len(own), len(hashes))
	}
	for place := range hashes {
		if hashes[place] != own[place] {
			log.Fatalf("%s: hash %d of the proof is another in Go", path, place)
		}
	}
}

func logKey(folder string) note.Verifier {
	key, err := note.NewVerifier(strings.TrimSpace(string(read(folder, "log"))))
	check(err)
	return key
}

func witnessKey(folder string) note.Verifier {
	parts := strings.SplitN(strings.TrimSpace(string(read(folder, "witness"))), "+", 3)
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	check(err)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	check(err)
	return cosigner{parts[0], uint32(hash), key[1:]}
}

func decode(lines []string) (hashes []tlog.Hash) {
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		check(err)
		hashes = append(hashes, hash)
	}
	return hashes
}

func read(parts ...string) []byte {
	data, err := os.ReadFile(filepath.Join(parts...))
	check(err)
	return data
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
