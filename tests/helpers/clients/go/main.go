// An agent of one tool, on go-openai: it prints what came of a run as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	openai "github.com/sashabaranov/go-openai"
)

type outcome struct {
	Texts   []string          `json:"texts"`
	Calls   []json.RawMessage `json:"calls"`
	Results []string          `json:"results"`
}

func main() {
	config := openai.DefaultConfig("k")
	config.BaseURL = os.Args[1] + "/v1"
	client := openai.NewClientWithConfig(config)
	tool := openai.Tool{Type: openai.ToolTypeFunction, Function: &openai.FunctionDefinition{
		Name:       "add_task",
		Parameters: json.RawMessage(`{"type":"object","properties":{"title":{"type":"string"}}}`),
	}}
	messages := []openai.ChatCompletionMessage{{Role: "user", Content: "Buy milk"}}
	out := outcome{Calls: []json.RawMessage{}, Results: []string{}}
	for len(out.Texts) < 5 {
		message := turn(client, openai.ChatCompletionRequest{
			Model: "m", Messages: messages, Tools: []openai.Tool{tool}, Stream: true,
		})
		messages = append(messages, message)
		out.Texts = append(out.Texts, message.Content)
		if len(message.ToolCalls) == 0 {
			break
		}
		for _, call := range message.ToolCalls {
			var arguments struct{ Title string }
			if err := json.Unmarshal([]byte(call.Function.Arguments), &arguments); err != nil {
				log.Fatal(err)
			}
			result := "added " + arguments.Title
			out.Calls = append(out.Calls, json.RawMessage(call.Function.Arguments))
			out.Results = append(out.Results, result)
			messages = append(messages, openai.ChatCompletionMessage{
				Role: "tool", ToolCallID: call.ID, Content: result,
			})
		}
	}
	said, err := json.Marshal(out)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(said))
}

// turn streams one answer and puts its pieces together.
func turn(client *openai.Client, request openai.ChatCompletionRequest) openai.ChatCompletionMessage {
	stream, err := client.CreateChatCompletionStream(context.Background(), request)
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	message := openai.ChatCompletionMessage{Role: "assistant"}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return message
		}
		if err != nil {
			log.Fatal(err)
		}
		for _, choice := range chunk.Choices {
			message.Content += choice.Delta.Content
			for _, delta := range choice.Delta.ToolCalls {
				if delta.Index == nil || *delta.Index >= len(message.ToolCalls) {
					message.ToolCalls = append(message.ToolCalls, delta)
					continue
				}
				message.ToolCalls[*delta.Index].Function.Arguments += delta.Function.Arguments
			}
		}
	}
}
