// Command probe is what the bed's own pods run: the pause container, and a small server that proves that volumes,
// names and addresses work.
//
//	probe                  waits for SIGTERM (the pause container)
//	probe serve DIR        writes its name into DIR/name, answers it on :8080
//	probe get URL          prints the answer
//	probe lookup NAME      prints the addresses, one a line, sorted
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// A name or server of the bed answers within milliseconds; what takes longer is broken.
const patience = 5 * time.Second

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	switch {
	case len(args) == 0:
		<-stop.Done()
		return nil
	case len(args) == 2 && args[0] == "serve":
		return serve(stop, args[1])
	case len(args) == 2 && args[0] == "get":
		return get(stop, args[1])
	case len(args) == 2 && args[0] == "lookup":
		return lookup(stop, args[1])
	default:
		return errors.New("usage: probe [serve DIR | get URL | lookup NAME]")
	}
}

func serve(stop context.Context, dir string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "name")
	if err := os.WriteFile(file, []byte(name), 0o640); err != nil {
		return err
	}
	handler := func(w http.ResponseWriter, _ *http.Request) {
		content, err := os.ReadFile(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(content)
	}
	server := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(handler)}
	context.AfterFunc(stop, func() { _ = server.Shutdown(context.Background()) })
	fmt.Println("serving as", name)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func get(stop context.Context, url string) error {
	ctx, cancel := context.WithTimeout(stop, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	fmt.Println()
	return err
}

func lookup(stop context.Context, name string) error {
	ctx, cancel := context.WithTimeout(stop, patience)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	slices.Sort(addresses)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return err
}
