// Make calls of the official client and print what came of each, as tests/clients/openai_node.py asks on stdin:
// {base_url, key, calls: [{do, body, options, abort_after}]}. `do` is create, stream, helper, models or model, and
// of the Responses API respond, events (a stream) or response (its helper);
// `abort_after` closes a call that many milliseconds after it began, or a stream after its first text.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const OpenAI = createRequire(`${process.argv[2]}/`)("openai");
const { base_url: baseURL, key: apiKey, calls } = JSON.parse(await text(process.stdin));
const client = new OpenAI({ baseURL, apiKey });

async function collected(stream, abort) {
  const chunks = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
    if (abort && chunk.choices[0]?.delta.content) break;
  }
  return chunks;
}

const doing = {
  async create({ body, options, abort_after }) {
    const signal = abort_after ? AbortSignal.timeout(abort_after) : undefined;
    const { data, response } = await client.chat.completions.create(body, { ...options, signal }).withResponse();
    return { ...data, x_thread_id: response.headers.get("x-thread-id") };
  },
  async stream({ body, options, abort_after }) {
    return collected(await client.chat.completions.create({ ...body, stream: true }, options), abort_after);
  },
  async helper({ body, options }) {
    return client.chat.completions.stream(body, options).finalChatCompletion();
  },
  async respond({ body, options }) {
    return client.responses.create(body, options);
  },
  async events({ body, options }) {
    return collected(await client.responses.create({ ...body, stream: true }, options));
  },
  async response({ body, options }) {
    return client.responses.stream(body, options).finalResponse();
  },
  async models() {
    return (await client.models.list()).data;
  },
  async model({ body }) {
    return client.models.retrieve(body);
  },
};

function described(error) {
  const { status, code, type, param, message } = error;
  return { name: error.constructor.name, status, code, type, param, message };
}

const answers = [];
for (const call of calls) {
  try {
    answers.push({ value: await doing[call.do](call) });
  } catch (error) {
    answers.push({ error: described(error) });
  }
}
process.stdout.write(JSON.stringify(answers));
