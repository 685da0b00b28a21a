// Reads mails as a mail program would, and tells what it sees.
//
//   node read.js <FILES >SEEN
//
// FILES are paths, a line each. SEEN is JSON, for each file {from, to, replyTo: [{name, address}], subject, text, html,
// headers: [name], files: [{name, type, cid, content}]}, the content in base64.

import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";

import { simpleParser } from "mailparser";

const AS_SENT = { skipHtmlToText: true, skipTextToHtml: true, skipTextLinks: true, skipImageLinks: true };

const mailboxes = (field) => (field?.value ?? []).map(({ name, address }) => ({ name, address }));

async function read(path) {
  const mail = await simpleParser(await readFile(path), AS_SENT);
  return {
    from: mailboxes(mail.from),
    to: mailboxes(mail.to),
    replyTo: mailboxes(mail.replyTo),
    subject: mail.subject,
    text: mail.text,
    html: mail.html,
    headers: mail.headerLines.map(({ key }) => key),
    files: mail.attachments.map(({ filename, contentType, cid, content }) => ({
      name: filename,
      type: contentType,
      cid,
      content: content.toString("base64"),
    })),
  };
}

const files = (await text(process.stdin)).trimEnd().split("\n");
process.stdout.write(JSON.stringify(await Promise.all(files.map(read))));
